"""Batches of a bake for PyTorch: exact order, exact position, memory that is used again.

    order (pure)  ->  feed (mapped shards)  ->  flip, normalise, cast on the device  ->  Batch
        in a background thread, `prefetch` batches ahead

One iteration is one pass: one variant of every image. Rule: what has been consumed, not what has been
prefetched, is the position; state_dict() after batch k continues with batch k + 1, on any number of ranks.
"""

import logging
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mixbake.errors import UsageError
from mixbake.storage.opened import Bake, Place
from mixbake.stream.batch import Batch
from mixbake.stream.devices import Finisher
from mixbake.stream.feed import Feed
from mixbake.stream.follow import first_bake, grown_bake
from mixbake.stream.gather import are_compiled
from mixbake.stream.order import CYCLIC, Era, Order, Places, era_tuples, eras_from, flips
from mixbake.stream.prefetch import ahead
from mixbake.stream.reader import Fault, damage
from mixbake.stream.remote import open_shelf
from mixbake.stream.resident import Resident
from mixbake.stream.rows import Source, numbers_of, rows_of
from mixbake.stream.settings import LoaderSettings, resolved_flip, resolved_views, usual_prefetch, world

LOG = logging.getLogger("mixbake.stream")
STATE_VERSION = 1


class ShardLoader:
    """Iterates over a bake as a `DataLoader` does over a data set: a pass an iteration, `len()` batches each.

    path: the bake's folder or any fsspec URL of it. batch_size: of all ranks together. seed: fixes order, clean
    places and flips. order: "cyclic" (epoch's worth p mod N in pass p) or one epoch's worth. drop_last: leave out
    what does not fill a batch; else the last one is padded, `valid` says where. clean_fraction: share of places
    that take the clean crop, of a bake with --views clean or jsd. views: "jsd" (triplets), "mix", or "auto" (as
    baked). flip: "auto" (mirror if the bake left that to the trainer), "online", "none".
    rank, world_size: by default from the environment, as torchrun sets it.
    device: where batches go. dtype: torch.uint8 as stored, or a float type: then (x/255 - mean) / std.
    channels_last: B×C×H×W with that memory format; False: B×H×W×C. pin_memory: of batches that stay on the CPU.
    threads: decode large pictures; by default the cores this process may use. prefetch: batches ahead, 0 for none;
    by default 2, or 0 where one core would do both and no GPU waits.
    resident: keep decoded pictures on the device; "auto" if they take no more than 40 % of a GPU's free memory.
    metadata: add provenance. verify: "sizes" at opening, "background" also hashes each shard after its first use,
    "full" hashes everything at opening. on_damage: "raise", or "skip": counted in `damaged`, logged, not valid.
    follow: use a bake that grows from its first epoch's worth on, and what is added from the next pass on.
    cache, cache_bytes: folder and size limit of the copies of a bake that lies elsewhere. storage_options: fsspec's.

    Raises UsageError for a value that does not fit the bake, Damage for a bake that is not what it promises.
    One pass at a time: beginning another ends the one before. After a fork, or in a spawned process, a loader
    opens its files anew. Leaving a loop early is fine: the next iteration begins the next pass.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        batch_size: int,
        seed: int = 0,
        order: str | int = CYCLIC,
        drop_last: bool = True,
        clean_fraction: float = 0.0,
        views: str = "auto",
        flip: str = "auto",
        rank: int | None = None,
        world_size: int | None = None,
        device: str | torch.device = "cpu",
        dtype: torch.dtype = torch.uint8,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.5, 0.5, 0.5),
        channels_last: bool = True,
        pin_memory: bool = False,
        threads: int | None = None,
        prefetch: int | None = None,
        resident: bool | str = False,
        metadata: bool = False,
        verify: str = "background",
        on_damage: str = "raise",
        follow: bool = False,
        follow_seconds: float = 600.0,
        cache: str | Path | None = None,
        cache_bytes: int = 0,
        storage_options: Mapping[str, Any] | None = None,
    ) -> None:
        given = dict(locals())
        del given["self"]
        self._begin(LoaderSettings(**given))

    def _begin(self, asked: LoaderSettings) -> None:
        self._asked = asked
        self._shelf = open_shelf(
            asked.path, cache=asked.cache, limit_bytes=asked.cache_bytes, storage_options=asked.storage_options
        )
        self.rank, self.world_size = world(asked.rank, asked.world_size)
        self._bake = first_bake(self._shelf, asked.follow_seconds) if asked.follow else Bake.open(self._shelf)
        self.views = resolved_views(self._bake, asked.views, asked.clean_fraction)
        self._flip = resolved_flip(self._bake, asked.flip)
        device = torch.device(asked.device)
        self._prefetch = usual_prefetch(device) if asked.prefetch is None else asked.prefetch
        self._finisher = self._new_finisher(device)
        self._order = self._new_order()
        # Ranks that cannot share a batch are refused now, not by the thread that makes the first one.
        self._order.share(0, 0, rank=self.rank, world_size=self.world_size)
        self._pass, self._step, self._begun, self._resuming = 0, 0, False, False
        self._generation = 0
        self._batches: Generator[Batch, None, None] | None = None
        self.damaged = 0
        self._told: set[str] = set()
        self._condemned: dict[Place, Fault] = {}
        if not are_compiled():
            LOG.info("compiling the loops over batches, once for this installation: some seconds")
        self._open(self._bake)

    def _new_finisher(self, device: torch.device) -> Finisher:
        return Finisher(
            size=self._bake.plan.size,
            device=device,
            dtype=self._asked.dtype,
            mean=self._asked.mean,
            std=self._asked.std,
            channels_last=self._asked.channels_last,
            pin_memory=self._asked.pin_memory,
            ahead=self._prefetch + 2,
        )

    def _new_order(self) -> Order:
        return Order(
            seed=self._asked.seed,
            images=len(self._bake.images),
            batch_size=self._asked.batch_size,
            eras=(Era(first_pass=0, epochs=self._cycle(self._bake.epochs_worth)),),
            order=self._asked.order,
            drop_last=self._asked.drop_last,
            clean_fraction=self._asked.clean_fraction,
        )

    @property
    def bake(self) -> Bake:
        """The open bake: classes, plan, digest."""
        return self._bake

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label."""
        return self._bake.plan.classes

    def __len__(self) -> int:
        """Batches in a whole pass, the same on every rank."""
        return self._order.steps

    def usage(self, of_pass: int) -> tuple[int, int]:
        """Which epoch's worth a pass reads, and for the how many-th time."""
        return self._order.epoch(of_pass), self._order.use(of_pass) + 1

    def set_epoch(self, epoch: int) -> None:
        """Make `epoch` the next pass, from its beginning; not needed: passes count themselves.

        After `load_state_dict` the pass that is to be continued keeps its position.
        """
        if epoch < 0:
            raise UsageError(f"an epoch is 0 or more, not {epoch}")
        if epoch == self._pass and self._resuming:
            return  # a loop that says where it is: the rest of that pass is what comes
        self._end_pass()
        self._pass, self._step, self._begun, self._resuming = epoch, 0, False, False

    def __iter__(self) -> Generator[Batch, None, None]:
        """The next pass; the first time after `load_state_dict` the rest of the pass it was saved in."""
        self._reopen()
        self._end_pass()
        return self._iterate(self._generation)

    def state_dict(self) -> dict[str, Any]:
        """Where the training stands, as plain values: seed, pass, batches consumed of it, and what fixes the order."""
        done = self._step >= len(self)
        return {
            "version": STATE_VERSION,
            "plan": self._bake.plan_digest,
            "seed": self._order.seed,
            "pass": self._pass + done,
            "step": 0 if done else self._step,
            "eras": era_tuples(self._order.eras),
            "batch_size": self._order.batch_size,
            "drop_last": self._order.drop_last,
            "order": self._order.order,
            "clean_fraction": self._order.clean_fraction,
            "views": self.views,
        }

    def load_state_dict(self, state: Mapping[str, Any], *, grow: bool = False) -> None:
        """Continue where `state_dict` was called: the next iteration gives the rest of that pass.

        The number of ranks and threads may be another one. grow: from the next pass on, use what the bake has
        gained since; otherwise it goes on with what there was. Raises UsageError for any other difference.
        """
        self._end_pass()
        mine = self.state_dict()
        free = {"pass", "step", "eras"}
        odd = [name for name in mine if name not in free and state.get(name) != mine[name]]
        if lines := [f"{name}: {state.get(name)!r} -> {mine[name]!r}" for name in odd]:
            raise UsageError(f"the state belongs to another order; make the loader as it was: {'; '.join(lines)}")
        eras, of_pass, step = eras_from(state.get("eras")), state.get("pass"), state.get("step")
        if type(of_pass) is not int or type(step) is not int or of_pass < 0 or not 0 <= step < len(self):
            raise UsageError(f"a state at pass {of_pass!r}, step {step!r}: it was not made by state_dict()")
        worth, order = self._cycle(self._bake.epochs_worth), replace(self._order, eras=eras)
        if eras[-1].epochs > worth:
            raise UsageError(
                f"the state was made with {eras[-1].epochs} epochs' worth and {self._shelf.name} holds {worth}: "
                "give the whole bake"
            )
        self._order = order
        if grow and worth > eras[-1].epochs:
            self._order = self._order.grown(of_pass + (step > 0), worth)
        self._pass, self._step, self._begun, self._resuming = of_pass, step, True, True

    def close(self) -> None:
        """End the pass that is under way, threads and mappings. Batches stay valid; iterating again opens again."""
        self._end_pass()
        self._feed.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"asked": self._asked, "state": self.state_dict(), "begun": self._begun}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        self._begin(stored["asked"])
        self.load_state_dict(stored["state"])
        self._begun = self._resuming = stored["begun"]

    def _open(self, bake: Bake, resident: Resident | None = None) -> None:
        self._bake = bake
        self._feed = Feed(bake, self._finisher, self._asked, condemned=self._condemned, resident=resident)
        self._note(self._feed.at_opening())

    def _reopen(self) -> None:
        """After a fork threads are gone, after close() everything is."""
        if not self._feed.usable:
            self._batches = None
            self._finisher.forget()
            self._open(self._bake, self._feed.resident)

    def _end_pass(self) -> None:
        """End the iteration that is under way, if there is one: its thread reads no more, who asks it gets an error."""
        self._generation += 1
        if self._batches is not None:
            self._batches.close()
            self._batches = None

    def _grow(self, of_pass: int) -> None:
        """Take what the bake has gained, at the beginning of a pass; all ranks take the same."""
        bake, epochs = grown_bake(self._bake, self.world_size)
        cycle = self._cycle(epochs)
        if of_pass == 0:
            # Ranks may have opened it at different moments.
            self._order = replace(self._order, eras=(Era(first_pass=0, epochs=cycle),))
        elif cycle > self._order.eras[-1].epochs:
            LOG.info("pass %d: the bake has grown to %d epochs' worth", of_pass, epochs)
            self._order = self._order.grown(of_pass, cycle)
        if bake is not self._bake:
            resident = self._feed.resident
            self._feed.close()
            self._open(bake, resident)

    def _cycle(self, epochs: int) -> int:
        """Numbers in a cycle: epochs' worth, or with views "mix" of a jsd bake each of their mixes."""
        return epochs * (1 if self.views == "jsd" else self._bake.plan.group)

    def _iterate(self, generation: int) -> Generator[Batch, None, None]:
        self._require_current(generation)
        of_pass, first = (self._pass + 1, 0) if self._begun and not self._resuming else (self._pass, self._step)
        if self._asked.follow and first == 0:
            self._grow(of_pass)
        self._pass, self._step, self._begun, self._resuming = of_pass, first, True, False
        steps, epoch = range(first, len(self)), self._order.epoch(of_pass)
        LOG.info("pass %d: use %d of epoch's worth %d", of_pass, self._order.use(of_pass) + 1, epoch)
        self._batches = batches = ahead((self._make(of_pass, step) for step in steps), self._prefetch)
        try:
            for step in steps:
                self._require_current(generation)
                batch = next(batches)
                self._step = step + 1
                yield self._finisher.hand_over(batch)
            self._require_current(generation)
            self._note(self._feed.found(wait=True))
        finally:
            batches.close()

    def _require_current(self, generation: int) -> None:
        if generation != self._generation:
            raise UsageError("this pass has ended: the loader was closed, or another iteration of it was begun")

    def _make(self, of_pass: int, step: int) -> Batch:
        """A whole batch, by the background thread."""
        places = self._order.share(of_pass, step, rank=self.rank, world_size=self.world_size)
        ids, rows = self._bake.images[places.images], rows_of(places, self.views, self._bake.plan.group)
        images, faults = self._feed.images(rows, places.images, self._mirrored(ids, places, len(rows)))
        if faults:
            self._leave_out(places, faults)
        self._note(self._feed.found())
        numbers = numbers_of(rows, len(places))
        return self._finisher.batch(
            images=images,
            labels=self._bake.labels[places.images],
            ids=ids,
            numbers=numbers[0] if len(rows) == 1 else numbers,
            clean=places.clean.copy(),
            valid=places.valid,
            metadata=self._provenance(rows, places) if self._asked.metadata else None,
        )

    def _mirrored(self, ids: NDArray[np.int64], places: Places, rows: int) -> NDArray[np.bool_] | None:
        """Which pictures to mirror, all rows of an image alike; None for none."""
        if not self._flip:
            return None
        mirrored = flips(self._order.seed, ids, np.full(len(ids), places.epoch), places.use)
        return np.tile(mirrored, rows)

    def _leave_out(self, places: Places, faults: Sequence[tuple[int, Fault]]) -> None:
        """Mark what is damaged in a batch as not valid; padding, which was not valid before, does not count."""
        at = [target % len(places) for target, _ in faults]
        lost = [fault for place, (_, fault) in zip(at, faults, strict=True) if places.valid[place]]
        self._note(lost)
        self.damaged += len(lost)
        places.valid[at] = False

    def _provenance(self, rows: Sequence[Sequence[Source]], places: Places) -> Any:
        tables = []
        for row in rows:
            table, faults = self._feed.provenance(row, places.images)
            self._note(faults)
            tables.append(table)
        return tables[0] if len(tables) == 1 else tuple(tables)

    def _note(self, faults: Sequence[Fault]) -> None:
        """Raise Damage, or log what is lost, each of it once."""
        if faults and self._asked.on_damage == "raise":
            raise damage(faults, self._bake, advice=", or read on with ShardLoader(..., on_damage='skip')")
        for text in map(str, faults):
            if text not in self._told:
                self._told.add(text)
                LOG.warning("%s is damaged, left out: %s", self._shelf.name, text)
