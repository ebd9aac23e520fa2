"""`mixbake recipes gallery`: one image through everything, as a page or as a sheet.

    names -> recipes -> image, mixing pictures -> parts -> .html or .png
Rule: the same arguments give the same bytes; what is there already is never replaced.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixbake.data.pictures import spell_specs
from mixbake.errors import UsageError
from mixbake.gallery.drawn import choose, of_layers, of_recipes
from mixbake.gallery.examples import EVERY_BLEND, EVERY_OPERATION, of_blends, of_operations
from mixbake.gallery.exhibits import Part
from mixbake.gallery.page import write_page
from mixbake.gallery.sheet import draw_gallery
from mixbake.gallery.subject import IMAGE, MIXING, Progress, Subject, open_subject
from mixbake.storage.store import publish_bytes

Write = Callable[[Subject, str, str, Sequence[Part]], bytes]

KINDS: dict[str, Write] = {".html": write_page, ".png": draw_gallery}
"""By ending."""
NOTES = {
    "recipes": (
        "Variants of one crop, as a bake draws them, but for the flip. "
        "Of one number, all recipes mix with the same window of the same picture."
    ),
    "layers": "Of one number, the operation and its first level are the same in all layers.",
    "operations": "Each operation at the lowest, the middle and the highest level that a recipe draws.",
    "blends": (
        "The crop, x1, with a partner, x2, so that the partner is weak, usual and strong: "
        "10 %, 50 %, 90 % of all draws are weaker. In masks, a share of x1 is kept."
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GallerySettings:
    """What is asked of a gallery. recipes: names, bare or full; none: all of them, and every operation there is."""

    image: str = IMAGE
    mixing_set: tuple[str, ...] = (MIXING,)
    size: int = 32
    seed: int = 0
    recipes: tuple[str, ...] = ()


def write_gallery(out: Path, settings: GallerySettings, *, progress: Progress) -> tuple[Part, ...]:
    """Write the gallery to `out`, whose ending says how: .html or .png; returns what is in it.

    Raises UsageError when `out` is there, for a wrong ending, recipe, image or mixing set; StorageError.
    """
    _check_place(out)
    chosen = choose(settings.recipes, size=settings.size)
    subject = open_subject(
        settings.image,
        settings.mixing_set,
        size=settings.size,
        seed=settings.seed,
        recipes=[one.recipe for one in chosen],
        progress=progress,
    )
    every = not settings.recipes
    rows = {
        "recipes": ("Recipes", of_recipes(subject, chosen)),
        "layers": ("LayerMix's layers", of_layers(subject, chosen)),
        "operations": ("Operations", of_operations(subject, EVERY_OPERATION if every else chosen)),
        "blends": ("Blends", of_blends(subject, EVERY_BLEND if every else chosen)),
    }
    parts = [
        Part(topic=topic, heading=heading, note=NOTES[topic], rows=tuple(found))
        for topic, (heading, found) in rows.items()
    ]
    shown = tuple(part for part in parts if part.rows)
    title = f"One image through {'every recipe' if every else ', '.join(settings.recipes)}"
    mixed = f", mixed with {spell_specs(settings.mixing_set)}" if subject.pictures else ""
    told = f"{settings.image} at {settings.size} px{mixed}, seed {settings.seed}."
    publish_bytes(out, KINDS[out.suffix.lower()](subject, title, told, shown))
    return shown


def _check_place(out: Path) -> None:
    """Raise UsageError unless a gallery can be written there; known before the work is done."""
    if out.suffix.lower() not in KINDS:
        raise UsageError(f"{out}: a gallery's file ends in {' or '.join(KINDS)}")
    if os.path.lexists(out):
        raise UsageError(f"{out} is there already: name something new, or delete it first")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: there is no folder {out.parent}: make it first")
