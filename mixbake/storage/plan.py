"""The plan: everything that decides a bake's bytes, except how many epochs' worth there are.

It is written first, as manifest.json, and never changes. Rule: no absolute path, no clock and no N in
it; two plans are the same exactly when their fields are.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbake.core import rng
from mixbake.core.ops import parameters_of
from mixbake.data.listing import Listing
from mixbake.errors import Damage, PlanDiffers
from mixbake.storage import codecs, tar
from mixbake.storage.store import canonical_json

FORMAT = "mixbake bake 1"
MOST_IMAGES = 10**8
"""Keys spell an image number in eight digits."""
BLOCKS_WANTED = 64
"""A small set is cut into up to this many blocks, so that many workers have something to do."""
MIN_IMAGES = {True: 200, False: 48}
"""Fewest images a block, for fixed (small) and for encoded (large) records: below it files cost more than pixels."""
SHARD_BYTES = 160_000_000
BYTES_PER_PIXEL = {"jpeg": 0.9, "png": 2.6, "webp": 0.8, "raw": 3.1}
"""For the size of a block only; the shards may come out at 128 to 256 MB."""
MOST_WEIGHT = 1000
"""Of a mixing set: with whole numbers up to here any ratio can be said that a bake could show."""
FLIP_WORDS = {"online": "left to the trainer", "baked": "baked with probability ½", "none": "none"}
"""What `Plan.flip` means, for messages and the card."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is baked. Two bakes with equal plans and environments have equal tars.

    images: n of the source; baked: the first of the seeded permutation that are baked (`--limit`).
    recipe: every parameter. classes: in label order. source: digest of (path, bytes, label).
    mixing: digest of the prepared pictures, or None; pictures: how many; mixing_sets: pictures and weight of each set,
    empty unless they are weighted. flip: "online", "baked" or "none".
    member_bytes: length of every JSON member. block_images: images a block.
    """

    schema: int
    seed: int
    recipe: Mapping[str, Any]
    source: str
    classes: tuple[str, ...]
    images: int
    baked: int
    mixing: str | None
    pictures: int
    size: int
    crop: str
    flip: str
    views: str
    codec: str
    quality: int
    background: tuple[int, int, int]
    member_bytes: int
    paths_in_members: bool
    block_images: int
    environment: Mapping[str, str]
    mixing_sets: tuple[tuple[int, int], ...] = ()

    @property
    def parameters(self) -> dict[str, Any]:
        """Of the recipe."""
        return parameters_of(self.recipe)

    @property
    def blocks(self) -> int:
        """How many blocks there are; the last may be shorter."""
        return -(-self.baked // self.block_images)

    @property
    def group(self) -> int:
        """Numbers that share a crop, flip and picture."""
        return 2 if self.views == "jsd" else 1

    @property
    def extension(self) -> str:
        """Of the picture member, without a dot."""
        return codecs.CODECS[self.codec].extension

    def outputs(self, first: int, last: int) -> Iterator[tuple[str, int]]:
        """(view, number) of every shard that epochs' worth first..last (inclusive) consist of."""
        for number in range(first * self.group, (last + 1) * self.group):
            yield "mix", number
        if self.views != "mix":
            for number in range(first, last + 1):
                yield "clean", number

    def variants(self, epochs: int) -> int:
        """Samples in a bake of that many epochs' worth without skips, clean crops included."""
        return self.baked * epochs * (self.group + (self.views != "mix"))

    def order(self) -> NDArray[np.int64]:
        """int64[baked]: image numbers in baking order; block b is the b-th slice of `block_images`."""
        return rng.stream(self.seed, "blocks").permutation(self.images)[: self.baked].astype(np.int64)

    def block(self, number: int) -> slice:
        """Where block `number` lies in `order()`."""
        return slice(number * self.block_images, min((number + 1) * self.block_images, self.baked))

    def images_in(self, block: int) -> int:
        """Images of a block."""
        return len(range(self.baked)[self.block(block)])


def spell_worth(epochs: int) -> str:
    """`1 epoch's worth`, `10 epochs' worth`."""
    return f"{epochs:,} epoch's worth" if epochs == 1 else f"{epochs:,} epochs' worth"


def shard_path(view: str, number: int, block: int) -> str:
    """`mix/v003/000017.tar`: computed, never read from a file."""
    return f"{view}/v{number:03d}/{block:06d}.tar"


def mixing_path(digest: str) -> str:
    """`mixing/0123456789abcdef.pictures`: the prepared mixing pictures, by their digest."""
    return f"mixing/{digest[:16]}.pictures"


def range_name(block: int, first: int, last: int) -> str:
    """`000017-v000-009`: a block and its epochs' worth, the stem of its index and receipt."""
    return f"{block:06d}-v{first:03d}-{last:03d}"


def source_digest(listing: Listing) -> str:
    """SHA-256 over (relative path, bytes, label) of every image and the class names, in order."""
    digest = hashlib.sha256(canonical_json(list(listing.classes)))
    for path, size, label in zip(listing.paths, listing.sizes.tolist(), listing.labels.tolist(), strict=True):
        digest.update(f"\n{path}\0{size}\0{label}".encode())
    return digest.hexdigest()


def block_images(baked: int, *, size: int, codec: str, member_bytes: int) -> int:
    """Images a block: from the number of images, size and codec only, never from N or the machine.

    Small sets are cut into a power of two of equal blocks, so that any number of workers shares them fairly.
    """
    fixed = codecs.is_fixed(codec, size)
    if fixed:
        record = tar.layout(tar.stored_png_size(size), member_bytes).record
    else:
        record = round(size * size * BYTES_PER_PIXEL[codec]) + member_bytes + 4 * tar.UNIT
    wanted = min(BLOCKS_WANTED, max(1, baked // MIN_IMAGES[fixed]))
    blocks = 1 << (wanted.bit_length() - 1)
    return max(1, min(SHARD_BYTES // record, -(-baked // blocks)))


def manifest(plan: Plan, *, given: Mapping[str, Any]) -> dict[str, Any]:
    """The document of manifest.json; `given` is what the user wrote, recorded and not compared."""
    return {"format": FORMAT, "plan": asdict(plan), "given": dict(given)}


def given_in(text: bytes) -> dict[str, Any]:
    """What the user wrote, in a manifest.json that has been parsed before."""
    given = json.loads(text).get("given")
    return dict(given) if isinstance(given, dict) else {}


def spell_mixing(given: Mapping[str, Any]) -> str:
    """The mixing sets that the user wrote, of `given_in`."""
    written = given.get("mixing_set", "not recorded")
    return ", ".join(map(str, written)) if isinstance(written, list) else str(written)


def plan_of(document: Any) -> Plan:
    """The plan in a manifest document. Raises PlanDiffers when it is no bake's, or of another version."""
    if not isinstance(document, Mapping) or document.get("format") != FORMAT or "plan" not in document:
        raise PlanDiffers("manifest.json there is not a mixbake bake's: choose another OUT, or empty it yourself")
    # Bakes from before mixing sets were weighted do not mention them.
    stored = {"mixing_sets": [], **document["plan"]}
    names = {field.name for field in fields(Plan)}
    if set(stored) != names:
        odd = ", ".join(sorted(set(stored) ^ names))
        raise PlanDiffers(f"the plan was written by another version of mixbake (fields {odd}): use that version")
    if wrong := [name for name, is_sound in _SOUND.items() if not is_sound(stored[name])]:
        raise Damage(f"manifest.json: {wrong[0]} is {stored[wrong[0]]!r:.80}: restore it from a copy")
    if stored["baked"] > stored["images"]:
        raise Damage(f"manifest.json: {stored['baked']} of {stored['images']} images are baked: restore it from a copy")
    sets = tuple((count, weight) for count, weight in stored["mixing_sets"])
    if sets and (sum(count for count, _ in sets) != stored["pictures"] or not any(weight for _, weight in sets)):
        told = f"mixing_sets {sets!r:.80} of {stored['pictures']} pictures"
        raise Damage(f"manifest.json: {told}: restore it from a copy")
    tuples = {
        "classes": tuple(stored["classes"]),
        "background": tuple(stored["background"]),
        "mixing_sets": sets,
    }
    return Plan(**(stored | tuples))


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _list(kind: type) -> Callable[[Any], bool]:
    return lambda value: type(value) is list and all(type(part) is kind for part in value)


def _is_mixing_set(value: Any) -> bool:
    if not (_list(int)(value) and len(value) == 2):
        return False
    return _whole(1, 2**31)(value[0]) and _whole(0, MOST_WEIGHT)(value[1])


_SOUND: Mapping[str, Callable[[Any], bool]] = {
    "schema": _whole(1, 10**6),
    "seed": _whole(0, 2**63 - 1),
    "recipe": lambda value: isinstance(value, Mapping) and type(value.get("name")) is str,
    "source": lambda value: type(value) is str,
    "classes": _list(str),
    "images": _whole(0, MOST_IMAGES),
    "baked": _whole(0, MOST_IMAGES),
    "mixing": lambda value: value is None or (type(value) is str and re.fullmatch("[0-9a-f]{64}", value) is not None),
    "pictures": _whole(0, 2**31),
    "size": _whole(1, 2048),
    "crop": lambda value: type(value) is str,
    "flip": lambda value: type(value) is str and value in FLIP_WORDS,
    "views": lambda value: type(value) is str and value in ("mix", "jsd", "clean"),
    "codec": lambda value: type(value) is str and value in codecs.CODECS,
    "quality": _whole(0, 100),
    "background": lambda value: _list(int)(value) and len(value) == 3,
    "member_bytes": _whole(1, 1 << 20),
    "paths_in_members": lambda value: type(value) is bool,
    "block_images": _whole(1, MOST_IMAGES),
    "environment": lambda value: isinstance(value, Mapping),
    "mixing_sets": lambda value: type(value) is list and all(_is_mixing_set(one) for one in value),
}
"""What each field of a stored plan may be. A reader computes lengths and addresses from them."""


def differences(old: Plan, new: Plan) -> list[str]:
    """`field: old -> new` for each field in which two plans differ; long values by their digest."""
    return [f"{name}: {before} -> {after}" for name, before, after in differing_fields(old, new)]


def differing_fields(old: Plan, new: Plan) -> list[tuple[str, str, str]]:
    """(field, old, new) for each field in which two plans differ, as `recipe.severity`; long values by their digest."""
    before, after = asdict(old), asdict(new)
    return [found for name in before for found in _compare(name, before[name], after[name])]


def _compare(name: str, old: Any, new: Any) -> list[tuple[str, str, str]]:
    # Bakes from before numbers were spelled in one way have 8.0 where 8 is written now.
    if old == new or canonical_json(old) == canonical_json(new):
        return []
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [found for key in keys for found in _compare(f"{name}.{key}", old.get(key), new.get(key))]
    return [(name, _short(old), _short(new))]


def _short(value: Any) -> str:
    text = canonical_json(value).decode()
    if len(text) <= 70:
        return text
    return f"{text[:24]}... ({hashlib.sha256(text.encode()).hexdigest()[:12]})"
