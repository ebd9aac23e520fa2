"""One variant made again, from what is stored beside its picture: its program, its source image, its mixing picture.

    key -> index row -> record in its tar -> program (JSON)
    program + source image + mixing picture -> render -> compare with the stored picture
Rule: an image or picture that is absent or another one is refused (PlanDiffers); nothing is ever put in its place.

What counts as equal: rendered pixels are encoded and decoded again with the bake's codec, and must be the stored
ones to the last bit; a lossless codec changes nothing on that way. Only where the libraries here are not those of
the bake (another environment id) may they differ, by at least BOUND dB of PSNR: decoders of JPEG differ by rounding.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mixbake.audit.faults import plain
from mixbake.audit.images import Images, open_images, recorded_source
from mixbake.audit.promises import open_table
from mixbake.audit.schema import read_strictly, violations
from mixbake.audit.scribe import describe_header
from mixbake.core import render
from mixbake.core.jit import cache_root
from mixbake.core.own import OwnStep
from mixbake.core.variant import Variant, from_json, schema
from mixbake.data.pictures import prepare, spell_specs
from mixbake.data.prepared import PictureSet, open_pictures
from mixbake.errors import Damage, MixingDiffers, PlanDiffers, RecipeFailed, StorageError, UsageError
from mixbake.recipes.presets import NamedRecipe
from mixbake.recipes.recipe import own_steps_of
from mixbake.recipes.recorded import given_again
from mixbake.storage import codecs, tar
from mixbake.storage.decoders import DECODERS, UNREADABLE
from mixbake.storage.environment import environment_id
from mixbake.storage.index import IMAGES_SCHEMA
from mixbake.storage.opened import Bake, StoredFile
from mixbake.storage.plan import Plan, given_in, mixing_path
from mixbake.storage.receipt import Receipt
from mixbake.storage.store import retrying, sha256_file

Bytes = NDArray[np.uint8]
T = TypeVar("T")
KEY = re.compile(r"([0-9]{8,9})-(c?)([0-9]{4,9})")
BOUND = 30.0
"""Least PSNR in dB of a stored picture to the one rendered again with other library versions."""
_UNSOUND = (UsageError, KeyError, TypeError, ValueError, OverflowError, IndexError)
"""What a program that no recipe draws raises on its way to the renderer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """A variant made again.

    shard: its tar. document: its JSON. image: the source image, uint8 H×W×3; fitted: as crops are cut from it.
    picture: the prepared mixing picture, uint8 h×w×c, or None, and its name. own: steps that are not mixbake's.
    stored, rendered: uint8 S×S×3. equal: whether stored is what rendered becomes in the codec. same_environment:
    whether the library versions are the bake's. difference: greatest of a channel; psnr: in dB, both of stored to
    rendered.
    """

    shard: str
    document: Mapping[str, Any]
    variant: Variant
    plan: Plan
    source: str
    image: Bytes
    fitted: Bytes
    picture: Bytes | None
    picture_name: str
    own: tuple[OwnStep, ...]
    stored: Bytes
    rendered: Bytes
    equal: bool
    same_environment: bool
    difference: int
    psnr: float

    @property
    def good(self) -> bool:
        """Whether the stored picture is the one that the program makes: see the module."""
        return self.equal or (not self.same_environment and self.psnr >= BOUND)

    @property
    def verdict(self) -> str:
        """One line."""
        lossy = "" if self.difference == 0 else f", as encoded anew (before encoding: {self._distance})"
        if self.equal:
            return f"equal to the last bit{lossy}"
        if self.good:
            return f"within {BOUND:g} dB, with other library versions than the bake's: {self._distance}"
        return f"its program does not make its picture: {self._distance}"

    @property
    def _distance(self) -> str:
        return f"PSNR {self.psnr:.1f} dB, greatest difference {self.difference}"

    def require_equal(self) -> None:
        """Raise Damage naming shard and key unless `good`."""
        if not self.good:
            raise Damage(f"{self.shard}, {self.variant.key}: {self.verdict}")

    def to_json(self) -> dict[str, Any]:
        """Plain values; pixels are left out."""
        return {
            "key": self.variant.key,
            "shard": self.shard,
            "good": self.good,
            "equal": self.equal,
            "same_environment": self.same_environment,
            "bound_db": BOUND,
            "difference": self.difference,
            "psnr": None if math.isinf(self.psnr) else round(self.psnr, 3),
            "verdict": self.verdict,
            "source": self.source,
            "picture": self.picture_name or None,
            "variant": dict(self.document),
        }


class Replayer:
    """Makes variants of one bake again; opens source and mixing pictures once.

    bake: opened. out: its folder. source: spec of the source, by default the one that the build was given.
    mixing_set: specs of mixing sets to prepare anew instead of the bake's own file; by default that. recipe: the code
    of a recipe of one's own, as `--recipe` names it. Raises what `recipes.recorded.given_again` does.
    """

    def __init__(
        self,
        bake: Bake,
        out: Path,
        *,
        source: str | None = None,
        mixing_set: Sequence[str] = (),
        recipe: str | None = None,
    ) -> None:
        self._bake, self._out, self._mixing_set = bake, out, mixing_set
        self._source_spec = source
        self.recipe: NamedRecipe = given_again(bake.plan.recipe, recipe, size=bake.plan.size)
        self._own = own_steps_of(self.recipe.recipe)
        self._environments: dict[str, bool] = {}
        self._last: tuple[str, Any] | None = None

    def key(self, view: str, number: int, position: int) -> str:
        """The key of a variant of image `position` of `Bake.images`."""
        return tar.key(int(self._bake.images[position]), number, view)

    def find(self, key: str) -> tuple[str, int, int]:
        """View, number and image position of a key. Raises UsageError naming what keys there are."""
        bake, named = self._bake, KEY.fullmatch(key)
        image, view, number = (
            (0, "", 0) if named is None else (int(named[1]), "clean" if named[2] else "mix", int(named[3]))
        )
        known = view in {view for view, _ in bake.plan.outputs(0, 0)} and number < bake.numbers(view)
        position = int(np.searchsorted(bake.images, image))
        if known and position < len(bake.images) and bake.images[position] == image:
            return view, number, position
        raise UsageError(f"there is no variant {plain(key)!r:.60} in {bake.shelf.name}: {self._known()}")

    def replay(self, view: str, number: int, position: int) -> Replay:
        """Make a variant again. Raises Damage when what is stored is no whole record, PlanDiffers for the source."""
        bake, plan = self._bake, self._bake.plan
        key, shard = self.key(view, number, position), bake.shard(view, number, int(bake.blocks[position]))
        stored, document, variant = self._stored(key, shard.name, view, number, position)
        source, sha256 = self._named[int(bake.images[position])]
        image = _required(self._images).pixels(source, sha256)
        fitted = render.fitted(image, crop_kind=plan.crop, size=plan.size)
        picture, name = self.picture(variant)
        try:
            rendered = render.render(variant, fitted, picture, size=plan.size, own=self._own)
        except RecipeFailed:
            raise
        except _UNSOUND as error:
            raise Damage(f"{shard.name}, {key}: its program cannot be rendered ({error})") from error
        again = codecs.decode_stored(codecs.CODECS[plan.codec].encode(rendered, plan.quality), plan.codec)
        apart = np.abs(stored.astype(np.int16) - rendered)
        loss = float(np.square(apart.astype(np.float64)).mean())
        return Replay(
            shard=shard.name,
            document=document,
            variant=variant,
            plan=plan,
            source=source,
            image=image,
            fitted=fitted,
            picture=picture,
            picture_name=name,
            own=self._own,
            stored=stored,
            rendered=rendered,
            equal=bool(np.array_equal(stored, again)),
            same_environment=self._is_same_environment(view, number, position),
            difference=int(apart.max()),
            psnr=math.inf if loss == 0 else 10 * math.log10(255**2 / loss),
        )

    def _known(self) -> str:
        bake = self._bake
        if not len(bake.images):
            return "it holds none"
        ranges = (
            f"{tar.key(int(bake.images[0]), 0, view)} to {tar.key(int(bake.images[-1]), bake.numbers(view) - 1, view)}"
            for view in dict.fromkeys(view for view, _ in bake.plan.outputs(0, 0))
        )
        return f"its keys are IMAGE-NUMBER, from {' and from '.join(ranges)}"

    def _stored(
        self, key: str, shard: str, view: str, number: int, position: int
    ) -> tuple[Bytes, Mapping[str, Any], Variant]:
        """Pixels, JSON and program of a record, found through the index."""
        plan = self._bake.plan
        offset, size = self._row(key, view, number, position)
        tail = tar.tail_bytes(plan.member_bytes)
        try:
            with (self._out / shard).open("rb") as file:
                file.seek(max(0, offset - tar.UNIT))
                data = file.read(tar.UNIT + tar.padded(size) + tail)
        except FileNotFoundError as error:
            raise Damage(f"{shard} is missing: `mixbake build --repair` makes it whole") from error
        wanted = tar.header(f"{key}.{plan.extension}", size)
        if data[: tar.UNIT] != wanted:
            raise Damage(f"{shard}, {key}: {describe_header(data[: tar.UNIT], wanted, 'picture')}")
        text = data[len(data) - tar.padded(plan.member_bytes) :][: plan.member_bytes]
        try:
            document, variant = _program(text, key)
            pixels = np.empty((plan.size, plan.size, 3), np.uint8)
            DECODERS[plan.codec](np.frombuffer(data, np.uint8, size, tar.UNIT), pixels)
        except (*UNREADABLE, *_UNSOUND) as error:
            raise Damage(f"{shard}, {key}: {error}") from error
        return pixels, document, variant

    def _row(self, key: str, view: str, number: int, position: int) -> tuple[int, int]:
        """Offset and size of a picture, from the index; checked before they are used."""
        bake, block = self._bake, int(self._bake.blocks[position])
        file, shard = bake.index(view, number, block)
        row = shard * int(bake.samples[block]) + int(bake.rows[position])
        found = self._rows(file).slice(row, 1).to_pylist()
        limit = bake.shard(view, number, block).size
        told = [(one["key"], one["offset"], one["size"]) for one in found]
        if not told or told[0][0] != key or not all(type(value) is int and 0 < value < limit for value in told[0][1:]):
            raise Damage(f"{file.name}: row {row} is not that of {key}")
        _, offset, size = told[0]
        if size > codecs.most_bytes(bake.plan.size):
            raise Damage(f"{file.name}: {key} has {size:,} bytes, more than any picture of {bake.plan.size} px")
        return offset, size

    def _rows(self, file: StoredFile) -> Any:
        """Keys, offsets and sizes of an index as a pyarrow Table; the last one asked for is kept."""
        if self._last is None or self._last[0] != file.name:
            path = self._out / file.name
            if not path.is_file() or sha256_file(path)[0] != file.sha256:
                raise Damage(f"{file.name} is missing or altered: `mixbake build --repair` makes it whole")
            try:
                table = pq.read_table(path, columns=["key", "offset", "size"], use_threads=False)
            except (pa.ArrowException, OSError, ValueError) as error:
                raise Damage(f"{file.name} cannot be read ({error})") from error
            if table.column_names != ["key", "offset", "size"]:
                raise Damage(f"{file.name} is no index of variants")
            self._last = file.name, table
        return self._last[1]

    @cached_property
    def _named(self) -> dict[int, tuple[str, str]]:
        """Path and SHA-256 (hex) of every baked image, by number."""
        table = open_table(self._out / "images.parquet", IMAGES_SCHEMA, self._bake.plan.images).read(
            columns=["number", "source", "source_sha256"], use_threads=False
        )
        columns = (table[name].to_pylist() for name in ("number", "source", "source_sha256"))
        return {number: (source, sha256) for number, source, sha256 in zip(*columns, strict=True)}

    @cached_property
    def _images(self) -> Images | PlanDiffers:
        return _or_refusal(self._open_images)

    def _open_images(self) -> Images:
        spec = self._source_spec or recorded_source(given_in(self._bake.shelf.read("manifest.json")))
        return open_images(spec, self._bake.plan)

    def picture(self, variant: Variant) -> tuple[Bytes | None, str]:
        """The prepared mixing picture of a variant, uint8 h×w×c, and its name. Raises MixingDiffers, Damage."""
        if variant.picture is None:
            return None, ""
        pictures, number = _required(self._pictures), variant.picture.id
        if not 0 <= number < len(pictures):
            raise Damage(f"{variant.key}: it mixes with picture {number} of {len(pictures)}")
        return pictures.picture(number), pictures.names[number]

    def require_pictures(self) -> None:
        """Raise MixingDiffers unless the mixing pictures are at hand, where the bake has any."""
        if self._bake.plan.mixing is not None:
            _required(self._pictures)

    @cached_property
    def _pictures(self) -> PictureSet | PlanDiffers:
        return _or_refusal(self._open_pictures)

    def _open_pictures(self) -> PictureSet:
        """The bake's own prepared file, or what a mixing set is prepared to. Raises MixingDiffers for any other."""
        plan, advice = self._bake.plan, "name the mixing set with --mixing-set, or restore the file"
        if plan.mixing is None:
            raise Damage("a program mixes with a picture, and the bake has none")
        if self._mixing_set:
            gray = self.recipe.recipe.gray_pictures
            try:
                found = prepare(self._mixing_set, cache_root() / "pictures", size=plan.size, gray=gray)
            except (UsageError, PlanDiffers) as error:
                raise MixingDiffers(f"{plain(error)}: say with --mixing-set where it is") from error
            if found.digest != plan.mixing:
                raise MixingDiffers(
                    f"{plain(spell_specs(self._mixing_set))} is not the mixing set of the bake: its digest is "
                    f"{found.digest[:16]}"
                )
            return found
        path = self._out / mixing_path(plan.mixing)
        try:
            found = open_pictures(path, check=True)
        except (Damage, StorageError) as error:
            raise MixingDiffers(f"the bake's mixing pictures are absent or changed ({error}): {advice}") from error
        if found.digest != plan.mixing:
            raise MixingDiffers(f"{path} holds other pictures than the bake mixed with: {advice}")
        return found

    def _is_same_environment(self, view: str, number: int, position: int) -> bool:
        name = Path(self._bake.index(view, number, int(self._bake.blocks[position]))[0].name).stem
        if name not in self._environments:
            path = self._out / "receipts" / f"{name}.json"
            receipt = Receipt.from_json(retrying(path.read_bytes, path), path)
            self._environments[name] = dict(receipt.environment) == environment_id()
        return self._environments[name]


def _or_refusal(open_it: Callable[[], T]) -> T | PlanDiffers:
    """What was opened, or why not: to look for it once more would hash and list all of it again."""
    try:
        return open_it()
    except PlanDiffers as error:
        return error


def _required(found: T | PlanDiffers) -> T:
    """What was opened. Raises why it was not."""
    if isinstance(found, PlanDiffers):
        # Else each time would add to the traceback, and keep what that holds.
        raise found.with_traceback(None)
    return found


def _program(text: bytes, key: str) -> tuple[Mapping[str, Any], Variant]:
    """The JSON of a variant, and its program. Raises ValueError when it is no variant's or another's."""
    document = read_strictly(text)
    if problem := next(violations(document, schema()), None):
        raise ValueError(f"its JSON does not follow the schema: {problem}")
    variant = from_json(text)
    if variant.key != key:
        raise ValueError(f"its JSON is that of {variant.key}")
    return document, variant
