"""What the pixels and bytes of a bake depend on besides its plan.

Rule: only what can change a byte is part of the id; everything else is recorded, not compared.
"""

import os
import platform
import sys
from importlib.metadata import version
from typing import Any

from PIL import features

from mixbake import __version__
from mixbake.core.variant import SCHEMA_VERSION

_LIBRARIES = ("numpy", "numba", "pillow", "simplejpeg")


def environment_id() -> dict[str, str]:
    """Versions that bytes depend on. simplejpeg's version stands for the libjpeg-turbo built into it."""
    named = {library: version(library) for library in _LIBRARIES}
    # Pillow decodes what simplejpeg does not: its own JPEG and zlib matter as well.
    codecs = {f"pillow {name}": str(features.version(name)) for name in ("libjpeg_turbo", "jpg", "zlib", "webp")}
    return {"schema": str(SCHEMA_VERSION), "architecture": platform.machine(), **named, **codecs}


def environment_record() -> dict[str, Any]:
    """What else is worth knowing about where a build ran."""
    return {
        "mixbake": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "executable": os.path.basename(sys.executable),  # noqa: PTH119 - only the name: paths are nobody's business
        "cores": os.cpu_count(),
        "libraries": {library: version(library) for library in ("joblib", "llvmlite", "pyarrow")},
    }
