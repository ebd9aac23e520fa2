"""Published test sets as they are downloaded: which parts a folder holds, which are missing, what else lies there.

    CIFAR-10-C, CIFAR-100-C     NAME.npy: five blocks of the test set, severity 1 first; labels.npy (arXiv 1903.12261)
    CIFAR-10-C-bar              the same with ten other corruptions (arXiv 2102.11273)
    ImageNet-C                  NAME/SEVERITY/CLASS/*.JPEG, perhaps in folders noise, blur, weather, digital, extra
    ImageNet-C-bar              the same; SEVERITY is its generator's, such as 2.35
    CIFAR-10-P, CIFAR-100-P     NAME.npy: videos n×frames×32×32×3, without labels
    anything else               pictures in a folder, at any depth (anomalies); CLASS/*.jpg (ImageNet-R)

Rule: names are a literal table. What is absent is named and the rest is used; what is unknown is named and left alone.
Nothing is downloaded, and nothing decoded here.
"""

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixbake.data.names import is_picture
from mixbake.errors import UsageError
from mixbake.evaluate.arrays import SEVERITIES, map_pictures, read_labels
from mixbake.evaluate.corruptions import CORRUPTIONS
from mixbake.storage.store import storage_error

LABELS = "labels.npy"
GROUPS = ("noise", "blur", "weather", "digital", "extra")
"""Archives of ImageNet-C."""

EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
"""Published beside the 15 for validation (arXiv 1903.12261, section 4); no mean error counts them."""

C_BAR_CIFAR = (
    "blue_noise_sample",
    "brownish_noise",
    "checkerboard_cutout",
    "inverse_sparkles",
    "pinch_and_twirl",
    "ripple",
    "circular_motion_blur",
    "lines",
    "sparkles",
    "transverse_chromatic_abberation",
)
C_BAR_IMAGENET: Mapping[str, tuple[float, ...]] = {
    "blue_noise_sample": (0.8, 1.6, 2.4, 4.0, 5.6),
    "brownish_noise": (1.0, 2.0, 3.0, 4.0, 5.0),
    "caustic_refraction": (2.35, 3.2, 4.9, 6.6, 9.15),
    "checkerboard_cutout": (2.0, 3.0, 4.0, 5.0, 6.0),
    "cocentric_sine_waves": (3.0, 5.0, 8.0, 9.0, 10.0),
    "inverse_sparkles": (1.0, 2.0, 4.0, 9.0, 10.0),
    "perlin_noise": (4.6, 5.2, 5.8, 7.6, 8.8),
    "plasma_noise": (4.75, 7.0, 8.5, 9.25, 10.0),
    "single_frequency_greyscale": (1.0, 1.5, 2.0, 4.5, 5.0),
    "sparkles": (1.0, 2.0, 3.0, 5.0, 6.0),
}
"""Names, spelled as published, and ImageNet's severities, which name folders.

Source: facebookresearch/augmentation-corruption, imagenet_c_bar, cifar10_c_bar.csv and imagenet_c_bar.csv.
"""

PERTURBATIONS = (
    "gaussian_noise",
    "shot_noise",
    "motion_blur",
    "zoom_blur",
    "spatter",
    "brightness",
    "translate",
    "rotate",
    "tilt",
    "scale",
)
"""Of the mean flip probability (arXiv 1903.12261, section 4)."""
_HARDER = tuple(f"{name}_{level}" for name in (*PERTURBATIONS, "speckle_noise") for level in (2, 3))
EXTRA_PERTURBATIONS = ("speckle_noise", "gaussian_blur", "snow", "shear", *_HARDER)

C_ORDINAL: Mapping[str, tuple[float, ...]] = dict.fromkeys(CORRUPTIONS, (1.0, 2.0, 3.0, 4.0, 5.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Pictures of one corruption and severity in a `.npy`: rows `first` on, one a label."""

    path: Path
    first: int
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a folder holds of a published set. label: the folder's name.

    parts: name -> severity, 1 to 5 -> a block of an array, or an image folder. missing: what is not there, a line each;
    notes: what was left alone.
    """

    label: str
    parts: Mapping[str, Mapping[int, Block | Path]]
    missing: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def find_corruptions(folder: Path) -> Found:
    """The 15 corruptions of CIFAR-10-C, CIFAR-100-C or ImageNet-C.

    Raises UsageError when none is there, and for arrays of another kind; Damage for one that is cut short.
    """
    return _find(folder, tuple(CORRUPTIONS), C_ORDINAL, known=EXTRA_CORRUPTIONS)


def find_c_bar(folder: Path) -> Found:
    """The 10 corruptions of CIFAR-10-C-bar or ImageNet-C-bar. Raises as `find_corruptions`."""
    return _find(folder, C_BAR_CIFAR, C_BAR_IMAGENET, known=())


def _find(
    folder: Path, arrays: tuple[str, ...], folders: Mapping[str, tuple[float, ...]], known: Collection[str]
) -> Found:
    """arrays: names in the layout of `.npy`; folders: in that of folders, with their severities."""
    inside = _names(folder)
    if LABELS in inside or any(f"{name}.npy" in inside for name in arrays):
        parts = _find_blocks(folder, arrays, inside)
        used = {LABELS, *(f"{name}.npy" for name in arrays)}
        names, extra = arrays, {f"{name}.npy" for name in known}
    else:
        parts, inside = _find_folders(folder, folders, inside)
        used, names, extra = set(folders), tuple(folders), set(known)
    if not parts:
        raise UsageError(
            f"{folder} holds none of the {len(names)} corruptions ({names[0]}, {names[1]}, ...), neither as .npy nor "
            f"as folders; there is {_few(inside) or 'nothing'}: give the folder that they lie in"
        )
    label = folder.resolve().name
    missing = [f"{label}: {name}" for name in names if name not in parts]
    missing += [
        f"{label}: {name}, severity {severity}"
        for name, found in parts.items()
        for severity in range(1, SEVERITIES + 1)
        if severity not in found
    ]
    return Found(label=label, parts=parts, missing=tuple(missing), notes=_notes(label, inside, used, extra))


def _find_blocks(folder: Path, names: Iterable[str], inside: Collection[str]) -> dict[str, dict[int, Block | Path]]:
    if LABELS not in inside:
        raise UsageError(f"{folder} has no {LABELS}: get the whole set")
    paths = {name: folder / f"{name}.npy" for name in names if f"{name}.npy" in inside}
    rows = {path: len(map_pictures(path, axes=4)) for path in paths.values()}
    if len(set(rows.values())) > 1:
        told = ", ".join(f"{path.name} {count:,}" for path, count in rows.items())
        raise UsageError(f"{folder} has sets of different lengths ({told}): get those anew that are too short")
    if not rows:
        return {}
    labels = read_labels(folder / LABELS, max(rows.values()))
    return {
        name: {
            severity: Block(path=path, first=(severity - 1) * len(labels), labels=labels)
            for severity in range(1, SEVERITIES + 1)
        }
        for name, path in paths.items()
    }


def _find_folders(
    folder: Path, names: Mapping[str, tuple[float, ...]], inside: Collection[str]
) -> tuple[dict[str, dict[int, Block | Path]], set[str]]:
    """The parts, and everything that lies beside them: `noise/gaussian_noise` is told as `gaussian_noise`."""
    groups = [name for name in GROUPS if name in inside and (folder / name).is_dir()]
    places = {name: folder / name for name in inside if name not in groups}
    for group in groups:
        places |= {name: folder / group / name for name in _names(folder / group)}
    parts: dict[str, dict[int, Block | Path]] = {}
    for name, strengths in names.items():
        if name in places and places[name].is_dir():
            parts[name] = _severities(places[name], strengths)
    return parts, set(places)


def _severities(folder: Path, strengths: tuple[float, ...]) -> dict[int, Block | Path]:
    """The folders 1 to 5, or those that bear the generator's numbers."""
    ordinals = {str(severity): severity for severity in range(1, SEVERITIES + 1)}
    spelled = {f"{strength:.2f}": severity for severity, strength in enumerate(strengths, 1)}
    inside = _names(folder)
    known = ordinals if inside & set(ordinals) else spelled
    found = {known[name]: folder / name for name in inside if name in known and _is_filled(folder / name)}
    return {severity: found[severity] for severity in sorted(found)}


def _is_filled(folder: Path) -> bool:
    """Whether it is a folder with something in it; what was never extracted may be an empty one."""
    return folder.is_dir() and bool(_names(folder))


def find_videos(folder: Path) -> Found:
    """The 10 perturbations of CIFAR-10-P or CIFAR-100-P: one part each, under severity 1, without labels.

    Raises UsageError when none is there (ImageNet-P's videos, .mp4, are not read), else as `find_corruptions`.
    """
    inside = _names(folder)
    there = [name for name in PERTURBATIONS if f"{name}.npy" in inside]
    if not there:
        raise UsageError(
            f"{folder} holds none of the {len(PERTURBATIONS)} perturbations as .npy ({PERTURBATIONS[0]}.npy, ...); "
            f"there is {_few(inside) or 'nothing'}: give CIFAR-10-P or CIFAR-100-P; ImageNet-P's .mp4 are not read"
        )
    parts: dict[str, dict[int, Block | Path]] = {}
    for name in there:
        path = folder / f"{name}.npy"
        shape = map_pictures(path, axes=5).shape
        if shape[1] < 2:
            raise UsageError(f"{path} has videos of {shape[1]} frame: two at least are wanted; get it anew")
        parts[name] = {1: Block(path=path, first=0, labels=np.zeros(shape[0], np.int64))}
    label = folder.resolve().name
    used = {f"{name}.npy" for name in PERTURBATIONS}
    return Found(
        label=label,
        parts=parts,
        missing=tuple(f"{label}: {name}" for name in PERTURBATIONS if name not in there),
        notes=_notes(label, inside, used, {f"{name}.npy" for name in EXTRA_PERTURBATIONS}),
    )


def find_pictures(folder: Path) -> list[Path]:
    """Every picture below a folder, sorted. Raises UsageError when there is none."""
    _names(folder)
    found = [
        Path(parent, name)
        for parent, folders, names in os.walk(folder)
        for name in names
        if is_picture(name) and not name.startswith(".")
    ]
    if not found:
        raise UsageError(f"{folder} holds no pictures: give a folder of pictures of no class that the network knows")
    return sorted(found)


def _names(folder: Path) -> set[str]:
    """What lies in a folder, without what is hidden. Raises UsageError when it is none."""
    try:
        return {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".")}
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"there is no folder {folder}: get the published set and name where it lies") from error
    except OSError as error:
        raise storage_error("read", folder, error) from error


def _notes(label: str, inside: Collection[str], used: Collection[str], extra: Collection[str]) -> tuple[str, ...]:
    beside = sorted(name for name in inside if name in extra)
    unknown = sorted(name for name in inside if name not in extra and name not in used)
    notes = [f"{label}: {_few(beside)} left out, since the papers' means do not count them"] if beside else []
    notes += [f"{label}: {_few(unknown)} left alone, unknown"] if unknown else []
    return tuple(notes)


def _few(names: Collection[str]) -> str:
    """The first names of many, as one line whatever is in them."""
    shown = ", ".join(ascii(name)[1:-1] for name in sorted(names)[:6])
    return shown + (f" and {len(names) - 6} more" if len(names) > 6 else "")
