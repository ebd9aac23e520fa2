"""The order of training: which variant stands where in which batch. Pure arithmetic, no files, no torch.

    place in pass p   ->  image: a fresh permutation of all images for each pass
    pass p            ->  epoch's worth: numbers are used in turn (cyclic), or one fixed number for ever
    batch s           ->  places s·batch_size to (s + 1)·batch_size - 1; rank r reads its equal slice of them

Rule: everything is a function of (seed, pass, step): never of ranks, threads, or what was read before.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mixbake.core import rng
from mixbake.errors import UsageError

CYCLIC = "cyclic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Era:
    """From pass `first_pass` on, a bake holds `epochs` epochs' worth: it may grow while it is used."""

    first_pass: int
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """A batch, or a rank's slice of one.

    images: int64[B], 0..n-1: positions among the usable images. clean: bool[B], whether the clean crop is
    meant. valid: bool[B], False for padding. epoch: the epoch's worth; use: how often it was used before.
    """

    images: NDArray[np.int64]
    clean: NDArray[np.bool_]
    valid: NDArray[np.bool_]
    epoch: int
    use: int

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """images: n, how many there are. batch_size: of all ranks together. order: "cyclic" or an epoch's worth.

    eras: what the bake held when, oldest first. drop_last: leave out the images that do not fill a batch;
    otherwise the last batch is filled up with images from the start of the pass, marked as not valid.
    clean_fraction: share of places that take the clean crop, drawn anew for each pass.
    """

    seed: int
    images: int
    batch_size: int
    eras: tuple[Era, ...]
    order: str | int = CYCLIC
    drop_last: bool = True
    clean_fraction: float = 0.0

    def __post_init__(self) -> None:
        if self.images < 1:
            raise UsageError("the bake holds no image that could be read: look into images.parquet for the reasons")
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, not {self.batch_size}")
        if self.drop_last and self.batch_size > self.images:
            raise UsageError(
                f"batch_size {self.batch_size} is more than the {self.images} images: with drop_last a pass would be "
                "empty; take a smaller one, or drop_last=False"
            )
        if not 0.0 <= self.clean_fraction <= 1.0:
            raise UsageError(f"clean_fraction must be 0 to 1, not {self.clean_fraction}")
        _check_eras(self.eras)
        _check_order(self.order, self.eras[-1].epochs)

    @property
    def steps(self) -> int:
        """Batches in a pass, the same for every rank."""
        return self.images // self.batch_size if self.drop_last else -(-self.images // self.batch_size)

    def grown(self, first_pass: int, epochs: int) -> Self:
        """The same order for a bake that holds `epochs` epochs' worth from `first_pass` on."""
        kept = tuple(era for era in self.eras if era.first_pass < first_pass)
        return replace(self, eras=(*kept, Era(first_pass=first_pass, epochs=epochs)))

    def epoch(self, of_pass: int) -> int:
        """The epoch's worth that a pass reads."""
        if self.order != CYCLIC:
            return int(self.order)
        return of_pass % self._era(of_pass).epochs

    def use(self, of_pass: int) -> int:
        """How many earlier passes read the same epoch's worth."""
        if self.order != CYCLIC:
            return of_pass
        epoch, total = self.epoch(of_pass), 0
        ends = [era.first_pass for era in self.eras[1:]] + [of_pass]
        for era, end in zip(self.eras, ends, strict=True):
            if era.epochs > epoch and min(end, of_pass) > era.first_pass:
                total += _congruent(era.first_pass, min(end, of_pass), epoch, era.epochs)
        return total

    def places(self, of_pass: int, step: int) -> Places:
        """The whole batch `step` of a pass. Raises UsageError beyond its end."""
        return self.share(of_pass, step, rank=0, world_size=1)

    def share(self, of_pass: int, step: int, *, rank: int, world_size: int) -> Places:
        """A rank's slice of a batch. Raises UsageError when the ranks cannot share batches equally."""
        size, rest = divmod(self.batch_size, max(world_size, 1))
        if rest or not 0 <= rank < world_size:
            raise UsageError(
                f"batch_size {self.batch_size} counts all ranks and must be a multiple of world_size {world_size}, "
                f"with rank 0 to {world_size - 1}, not {rank}"
            )
        if not 0 <= step < self.steps:
            raise UsageError(f"a pass has {self.steps} batches: there is no batch {step}")
        first = step * self.batch_size + rank * size
        return self._slice(of_pass, first, first + size)

    def _slice(self, of_pass: int, first: int, end: int) -> Places:
        images = _permutation(self.seed, self.images, of_pass)
        clean = _clean(self.seed, self.images, of_pass, self.clean_fraction)
        # A slice shows the pass's own arrays; only padding has to be put together.
        wanted: Any = slice(first, end) if end <= self.images else np.arange(first, end) % self.images
        return Places(
            images=images[wanted],
            clean=clean[wanted],
            valid=np.arange(first, end) < self.images,
            epoch=self.epoch(of_pass),
            use=self.use(of_pass),
        )

    def _era(self, of_pass: int) -> Era:
        return next(era for era in reversed(self.eras) if era.first_pass <= of_pass)


def flips(
    seed: int, images: NDArray[np.int64], numbers: NDArray[np.int64], uses: NDArray[np.int64] | int
) -> NDArray[np.bool_]:
    """Whether to mirror each picture: bool[B], from image numbers, numbers and uses (int64[B] each).

    Half of the variants begin as they were baked and half mirrored; each use shows the other side of the last.
    """
    start = np.uint64(rng.key(seed, "online flip")[0])
    with np.errstate(over="ignore"):
        mixed = rng.scrambled(start + images.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        mixed = rng.scrambled(mixed + numbers.astype(np.uint64) * np.uint64(0xD1B54A32D192ED03))
    first = (mixed >> np.uint64(63)).astype(np.int64)
    return ((first + uses) & 1).astype(np.bool_)


def era_tuples(eras: tuple[Era, ...]) -> list[list[int]]:
    """Eras as JSON keeps them."""
    return [[era.first_pass, era.epochs] for era in eras]


def eras_from(pairs: Any) -> tuple[Era, ...]:
    """Eras from what `era_tuples` made. Raises UsageError when it is nothing of the kind."""
    try:
        return tuple(Era(first_pass=int(first), epochs=int(epochs)) for first, epochs in pairs)
    except (TypeError, ValueError) as error:
        raise UsageError(f"a state whose eras are {pairs!r}: it was not made by state_dict()") from error


def _check_eras(eras: tuple[Era, ...]) -> None:
    starts, epochs = [era.first_pass for era in eras], [era.epochs for era in eras]
    if not eras or starts[0] != 0 or sorted(set(starts)) != starts or sorted(epochs) != epochs or epochs[0] < 1:
        raise UsageError(f"epochs' worth must begin with pass 0 and only grow, not {era_tuples(eras)}")


def _check_order(order: str | int, epochs: int) -> None:
    if order == CYCLIC or (isinstance(order, int) and not isinstance(order, bool) and 0 <= order < epochs):
        return
    raise UsageError(f'order is "cyclic" or one number of 0 to {epochs - 1}, not {order!r}')


def _congruent(first: int, end: int, remainder: int, modulus: int) -> int:
    """How many p of first..end-1 have p mod modulus = remainder."""

    def below(bound: int) -> int:
        return max(0, -(-(bound - remainder) // modulus))

    return below(end) - below(first)


@lru_cache(maxsize=4)
def _permutation(seed: int, images: int, of_pass: int) -> NDArray[np.int64]:
    """int64[n], read-only. Kept for the passes in use: all batches of a pass slice the same one."""
    order = rng.stream(seed, "order", of_pass).permutation(images)
    order.flags.writeable = False
    return order


@lru_cache(maxsize=4)
def _clean(seed: int, images: int, of_pass: int, fraction: float) -> NDArray[np.bool_]:
    if fraction in (0.0, 1.0):
        chosen = np.full(images, fraction == 1.0)
    else:
        chosen = rng.stream(seed, "clean", of_pass).random(images) < fraction
    chosen.flags.writeable = False
    return chosen
