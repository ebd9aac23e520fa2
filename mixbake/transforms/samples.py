"""What is transformed in a sample, and a sample put together again: tuples, lists, dicts, in any depth.

As in torchvision's v2: every image that says that it is one is transformed; where none does, the first array or tensor
that may be one; everything else passes through. Rule: a sample keeps its shape and its classes.
"""

import copy
from collections.abc import Iterator
from typing import Any

from mixbake.errors import UsageError
from mixbake.transforms.kinds import is_array, is_image


def chosen(sample: Any) -> list[int]:
    """Which leaves of a sample are to be transformed, by their place in it. Raises UsageError if none is."""
    parts = list(leaves(sample))
    images = [place for place, part in enumerate(parts) if is_image(part)]
    images = images or [place for place, part in enumerate(parts) if is_array(part)][:1]
    if not images:
        kinds = ", ".join(sorted({type(part).__name__ for part in parts})) or "nothing"
        raise UsageError(f"no image among {kinds}: give a PIL image, a numpy array or a torch tensor")
    return images


def leaves(sample: Any) -> Iterator[Any]:
    """Everything in a sample that is no tuple, list or dict, in order."""
    if isinstance(sample, dict | list | tuple):
        for part in sample.values() if isinstance(sample, dict) else sample:
            yield from leaves(part)
    else:
        yield sample


def rebuilt(sample: Any, parts: Iterator[Any]) -> Any:
    """A sample of the same shape with other leaves, which are taken from `parts`."""
    if isinstance(sample, dict):
        changed = copy.copy(sample)
        changed.update((key, rebuilt(part, parts)) for key, part in sample.items())
        return changed
    if isinstance(sample, list | tuple):
        inside = [rebuilt(part, parts) for part in sample]
        return type(sample)(*inside) if hasattr(sample, "_fields") else type(sample)(inside)
    return next(parts)
