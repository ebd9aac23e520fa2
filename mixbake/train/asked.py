"""What a user asks of the trainer, and the settings that follow from it.

Rule: no torch here; what can be refused without it is refused at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixbake.errors import PlanDiffers, UsageError
from mixbake.storage.opened import Bake
from mixbake.storage.store import read_json
from mixbake.stream.remote import open_shelf
from mixbake.train.settings import FREE, TrainSettings, plain, read_toml, resolve, settings_of

FOLLOW_SECONDS = 600.0
AUTO_RECIPE = {True: "cifar", False: "imagenet"}
"""By whether the bake's pictures have up to 64 px."""
CONFIG = "config.json"
"""Of a run folder: recipe and settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user wants. given: settings named by hand; out: the run folder; grow: use what the bake has gained."""

    shards: str
    out: Path | None = None
    recipe: str = "auto"
    config: Path | None = None
    given: Mapping[str, Any]
    resume: bool = False
    grow: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What will be done. bake: as it was when it was looked at."""

    asked: Asked
    bake: Bake
    recipe: str
    settings: TrainSettings


def settle(asked: Asked) -> Settled:
    """Open the bake, and find recipe and settings: of a run that is resumed those it was begun with.

    Raises UsageError, PlanDiffers, Damage, StorageError: for settings, or a bake, that training could not begin with.
    """
    bake = open_bake(asked)
    recipe, settings = _recipe_and_settings(asked, bake)
    _require_a_step(settings, bake)
    _require_views(settings, bake)
    return Settled(asked=asked, bake=bake, recipe=recipe, settings=settings)


def _recipe_and_settings(asked: Asked, bake: Bake) -> tuple[str, TrainSettings]:
    """A new run's, or of one that is resumed those it was begun with, but for the free ones."""
    if asked.resume:
        if asked.out is None:
            raise UsageError("--resume needs the run to go on with: name it with --out")
        if asked.recipe != "auto":
            raise UsageError("--resume keeps the run's recipe: leave --recipe out")
        recipe, stored = _stored_settings(asked.out)
        origin = str(asked.config or asked.out)
        changes = {**(read_toml(asked.config) if asked.config else {}), **asked.given}
        before = settings_of(stored, origin=str(asked.out))
        settings = settings_of({**stored, **changes}, origin=origin)
        _require_same(asked.out, before, settings)
        return recipe, settings
    recipe = AUTO_RECIPE[bake.plan.size <= 64] if asked.recipe == "auto" else asked.recipe
    return recipe, resolve(recipe, config=asked.config, given=asked.given)


def open_bake(asked: Asked) -> Bake:
    """The bake as it is now; with `follow`, as soon as there is one."""
    shelf = open_shelf(asked.shards)
    if not asked.given.get("follow"):
        return Bake.open(shelf)
    from mixbake.stream.follow import first_bake  # noqa: PLC0415 - brings torch

    return first_bake(shelf, FOLLOW_SECONDS)


def _require_a_step(settings: TrainSettings, bake: Bake) -> None:
    """Raise UsageError when a pass over the bake would be no batch long."""
    if settings.batch_size > len(bake.images):
        raise UsageError(
            f"a batch of {settings.batch_size} is more than the {len(bake.images):,} images of the bake: "
            "take a smaller --batch-size"
        )


def _require_views(settings: TrainSettings, bake: Bake) -> None:
    """Raise UsageError when the bake has not the views that the loss needs."""
    if settings.loss == "jsd" and bake.plan.views != "jsd":
        raise UsageError(
            f"--loss jsd needs aligned variants, and the bake has views {bake.plan.views}: bake with --views jsd, "
            "or take --loss cross_entropy"
        )


def _stored_settings(run: Path) -> tuple[str, dict[str, Any]]:
    """Recipe and settings of a run that was begun. Raises UsageError when there is none."""
    if not (run / CONFIG).exists():
        raise UsageError(f"{run} holds no run ({CONFIG}): check --out, or leave out --resume")
    document = read_json(run / CONFIG)
    if not isinstance(document, dict) or not isinstance(document.get("settings"), dict):
        raise UsageError(f"{run / CONFIG} is not a run's: check --out")
    return str(document.get("recipe")), document["settings"]


def _require_same(run: Path, stored: TrainSettings, asked: TrainSettings) -> None:
    """Raise PlanDiffers naming each setting that decides weights and is not what the run was begun with."""
    before, now = plain(stored), plain(asked)
    odd = [
        f"{name}: {before[name]!r} -> {now[name]!r}"
        for name in before
        if name not in FREE and before[name] != now[name]
    ]
    if odd:
        raise PlanDiffers(f"{run} was begun with other settings: {'; '.join(odd)}; leave them out, or train anew")
