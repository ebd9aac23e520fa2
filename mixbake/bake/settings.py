"""What a user asks of a build, and how it becomes a plan.

Rule: everything that can be refused is refused here, before a byte is written.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mixbake.bake.rehearsal import rehearse
from mixbake.core import members
from mixbake.core.variant import SCHEMA_VERSION
from mixbake.data.decode import image_size, size_of_start
from mixbake.data.listing import Entry, Listing, Source
from mixbake.data.pictures import prepare, spell_specs
from mixbake.data.prepared import PictureSet
from mixbake.data.sources import open_source
from mixbake.errors import DecodeError, UsageError
from mixbake.recipes.loaded import is_file
from mixbake.recipes.presets import NamedRecipe, resolve
from mixbake.recipes.weights import require_weights, weighted
from mixbake.storage import codecs
from mixbake.storage.environment import environment_id
from mixbake.storage.plan import MOST_IMAGES, Plan, block_images, source_digest

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
"""(what, done, total)."""

VIEWS = ("mix", "jsd", "clean")
CROPS = ("auto", "pad", "resized", "fit")
FLIPS = ("auto", "none", "online", "baked")
EXECUTOR_NAMES = ("joblib", "inline")
MAX_EPOCHS = 1000
SIZES = (8, 1024)
SMALL = 32
"""Size at which a recipe's parameters are looked at before that of the images is known."""
HEADER_BYTES = 1 << 16
"""Read of each image to know its size: a JPEG's longest segment, such as a camera's Exif."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """`mixbake build`'s arguments.

    publish_every 0: only at the end. mixing_set: one or several; mixing_weights: how often each of them is mixed with,
    whole numbers; if empty, a picture is any of all. size 0: the images' common size. jobs 0: every core.
    """

    source: str = "demo"
    out: Path | None = None
    epochs_worth: int = 1
    publish_every: int = 0
    recipe: str = "layermix"
    overrides: dict[str, Any] = field(default_factory=dict)
    mixing_set: str | tuple[str, ...] = "fractals"
    mixing_weights: tuple[int, ...] = ()
    classes: Path | None = None
    size: int = 0
    crop: str = "auto"
    flip: str = "auto"
    views: str = "mix"
    codec: str = "auto"
    quality: int = 95
    background: tuple[int, int, int] = (255, 255, 255)
    seed: int = 0
    limit: int = 0
    jobs: int = 0
    executor: Literal["joblib", "inline"] = "joblib"
    max_skip: float = 0.01
    overwrite: bool = False
    repair: bool = False
    accept_environment: bool = False

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        _choice("--views", self.views, VIEWS)
        _choice("--crop", self.crop, CROPS)
        _choice("--flip", self.flip, FLIPS)
        _choice("--executor", self.executor, EXECUTOR_NAMES)
        _between("--epochs-worth", self.epochs_worth, 1, MAX_EPOCHS)
        _between("--publish-every", self.publish_every, 0, MAX_EPOCHS)
        _between("--quality", self.quality, 1, 100)
        _between("--seed", self.seed, 0, 2**63 - 1)
        _between("--max-skip", self.max_skip, 0, 1)
        _between("--limit", self.limit, 0, 2**40)
        _between("--jobs", self.jobs, 0, 4096)
        if self.size:
            _between("--size", self.size, *SIZES)
        if not self.mixing_sets:
            raise UsageError("--mixing-set: name one at least, for example fractals")
        require_weights(self.mixing_weights, self.mixing_sets, name="--mixing-weights")
        if self.repair and self.overwrite:
            raise UsageError("--repair keeps what is whole and --overwrite deletes everything: choose one")

    @property
    def mixing_sets(self) -> tuple[str, ...]:
        """Every mixing set, in order."""
        return (self.mixing_set,) if isinstance(self.mixing_set, str) else self.mixing_set


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan with what it was made from."""

    plan: Plan
    recipe: NamedRecipe
    source: Source
    listing: Listing
    pictures: PictureSet | None


def open_listing(settings: BuildSettings) -> tuple[Source, Listing]:
    """Open and list the source. Raises UsageError."""
    source = open_source(settings.source, classes=settings.classes)
    return source, source.scan()


def make_plan(settings: BuildSettings, *, pictures_folder: Path, jobs: int, say: Say, progress: Progress) -> Planned:
    """Resolve every choice. Prepares the mixing set in `pictures_folder` if the recipe uses one."""
    # Once more when the size is known: a wrong parameter is to be told before a large source is listed.
    resolve(settings.recipe, size=settings.size or SMALL, overrides=settings.overrides)
    source, listing = open_listing(settings)
    say(f"{len(listing):,} images in {len(listing.classes)} classes" + _ignored(listing))
    _between("the number of images", len(listing), 1, MOST_IMAGES)
    size = settings.size or common_size(source, listing, say)
    _between("the images' common size", size, *SIZES)
    named = resolve(settings.recipe, size=size, overrides=settings.overrides)
    pictures = _pictures(settings, named, size, pictures_folder, jobs, say, progress)
    codec = codecs.choose_codec(settings.codec, size)
    member_bytes, with_paths = members.member_length(
        named.recipe.most, classes=listing.classes, paths=listing.paths, recipe=named.name
    )
    baked = min(settings.limit, len(listing)) or len(listing)
    plan = Plan(
        schema=SCHEMA_VERSION,
        seed=settings.seed,
        recipe=named.parameters(),
        source=source_digest(listing),
        classes=listing.classes,
        images=len(listing),
        baked=baked,
        mixing=pictures.digest if pictures else None,
        pictures=len(pictures) if pictures else 0,
        mixing_sets=weighted(pictures.counts, settings.mixing_weights) if pictures else (),
        size=size,
        crop=choose_crop(settings.crop, size),
        flip=choose_flip(settings.flip, named),
        views=settings.views,
        codec=codec,
        quality=settings.quality if codec in ("jpeg", "webp") else 0,
        background=settings.background,
        member_bytes=member_bytes,
        paths_in_members=with_paths,
        block_images=block_images(baked, size=size, codec=codec, member_bytes=member_bytes),
        environment=environment_id(),
    )
    rehearse(plan, named, pictures)
    return Planned(plan=plan, recipe=named, source=source, listing=listing, pictures=pictures)


def default_out(settings: BuildSettings) -> Path:
    """OUT as given, or `shards/<source>-<recipe>`."""
    if settings.out is not None:
        return settings.out
    kind, _, rest = settings.source.partition(":")
    name = Path(rest).stem if kind in ("wds", "list") else kind if rest or kind == "demo" else Path(kind).resolve().name
    safe = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in name).strip(".-") or "source"
    recipe = settings.recipe.rpartition(":")[2] if is_file(settings.recipe) else settings.recipe
    return Path("shards") / f"{safe}-{recipe}"


def choose_crop(crop: str, size: int) -> str:
    """`auto`: zero-pad and random crop up to 64 px, RandomResizedCrop above."""
    if crop != "auto":
        return crop
    return "pad" if size <= 64 else "resized"


def choose_flip(flip: str, named: NamedRecipe) -> str:
    """`auto`: left to the trainer for symmetric recipes, baked before the recipe for the others."""
    if flip != "auto":
        return flip
    return "online" if named.recipe.symmetric else "baked"


def common_size(source: Source, listing: Listing, say: Say) -> int:
    """Side of every image when all are equal and square, from each one's header. Undecodable ones are passed over.

    Raises UsageError at the first that differs, proposing sizes.
    """
    side = 0
    for entry in listing:
        try:
            height, width = _stored_size(source, entry)
        except (DecodeError, OSError):
            continue
        if height != width or (side and height != side):
            reason = f"{entry.path} is {width}×{height}" + (f", others are {side}×{side}" if side else "")
            raise UsageError(
                f"the images differ in size ({reason}): choose the output size, for example --size 32 or --size 224"
            )
        side = height
    if not side:
        raise UsageError(f"no image of {source.spec} can be decoded: check that the source is right")
    say(f"every image is {side}×{side}")
    return side


def _stored_size(source: Source, entry: Entry) -> tuple[int, int]:
    """(height, width) of an image, read whole only when its beginning does not tell. DecodeError, OSError."""
    start = source.read(entry, HEADER_BYTES)
    if isinstance(start, bytes) and len(start) == HEADER_BYTES:
        return size_of_start(start) or image_size(source.read(entry))
    return image_size(start)


def _pictures(
    settings: BuildSettings,
    named: NamedRecipe,
    size: int,
    folder: Path,
    jobs: int,
    say: Say,
    progress: Progress,
) -> PictureSet | None:
    if not named.recipe.uses_pictures:
        if settings.mixing_set != BuildSettings.__dataclass_fields__["mixing_set"].default:
            say(f"{named.name} mixes with no pictures: {spell_specs(settings.mixing_set)} is left alone")
        return None
    pictures = prepare(
        settings.mixing_sets,
        folder,
        size=size,
        gray=named.recipe.gray_pictures,
        jobs=jobs,
        progress=progress,
    )
    skipped = f", {len(pictures.skipped)} unreadable" if pictures.skipped else ""
    say(f"{len(pictures):,} mixing pictures ({spell_specs(settings.mixing_set)}){skipped}")
    return pictures


def _ignored(listing: Listing) -> str:
    return f", {listing.ignored:,} other files ignored" if listing.ignored else ""


def _choice(flag: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{flag} {value}: choose from {', '.join(known)}")


def _between(flag: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{flag} {value} is out of range: {low} to {high}")
