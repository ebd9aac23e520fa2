"""Plots of evaluations: a radar of the five safety measures, calibration error against severity.

Rule: outer is better in the radar, as in PixMix's figure 1 (arXiv 2112.05135): what is an error there is drawn as what
is left of 100 %. What was not measured is left out, never drawn as 0. Equal results give equal files: no clock, fixed
ids. Colours are Okabe and Ito's (jfly.uni-koeln.de/color), which colour-blind people tell apart; lines differ, too.
"""

import io
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixbake.errors import MissingExtra
from mixbake.evaluate.results import METRICS, C, Results
from mixbake.evaluate.tables import one_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":")
MARKS = "osD^vP*X"
KINDS = ("svg", "png")
_STYLE: Any = {
    "text.usetex": False,
    "svg.hashsalt": "mixbake",
    "svg.fonttype": "path",
    "text.parse_math": False,  # names may hold dollar signs
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}
_META: Mapping[str, dict[str, Any]] = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None}}


@dataclass(frozen=True, slots=True)
class Axis:
    """A spoke of the radar: what it is called, of which metric, and whether that is an error."""

    title: str
    metric: str
    error: bool


AXES = (
    Axis("Corruptions", "mce", error=True),
    Axis("Adversaries", "pgd_error", error=True),
    Axis("Consistency", "mfp", error=True),
    Axis("Calibration", "rms_corrupted", error=True),
    Axis("Anomaly detection", "auroc", error=False),
)
"""PixMix's five safety measures."""

Runs = Mapping[str, Sequence[Results]]
"""Name -> runs that are drawn as one line, their mean."""


def draw_all(runs: Runs) -> dict[str, bytes]:
    """File name -> content of every plot for which enough was measured. Raises MissingExtra without matplotlib."""
    _require_matplotlib()
    plots: dict[str, Callable[[Runs], Figure | None]] = {"radar": draw_radar, "calibration": draw_calibration}
    files: dict[str, bytes] = {}
    for name, draw in plots.items():
        for kind in KINDS:
            content = _write(draw, runs, kind)
            if content is not None:
                files[f"{name}.{kind}"] = content
    return files


def _require_matplotlib() -> None:
    try:
        import matplotlib.figure  # noqa: F401, PLC0415 - it is an extra, and slow to import
    except ModuleNotFoundError as error:
        raise MissingExtra("matplotlib", "plots") from error


def _write(draw: "Callable[[Runs], Figure | None]", runs: Runs, kind: str) -> bytes | None:
    import matplotlib as mpl  # noqa: PLC0415 - see above

    held = io.BytesIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # Letters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", message="Glyph", category=UserWarning)
        figure = draw(runs)
        if figure is None:
            return None
        figure.savefig(held, format=kind, dpi=150, metadata=_META[kind], bbox_inches="tight")
    return held.getvalue()


def draw_radar(runs: Runs) -> "Figure | None":
    """Of the measures that all runs have; None when these are fewer than three."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see above

    everyone = [one for some in runs.values() for one in some]
    axes = [axis for axis in AXES if all(METRICS[axis.metric].value(one) is not None for one in everyone)]
    if len(axes) < 3 or not everyone:
        return None
    figure = Figure(figsize=(6.4, 5.2))
    plot: Any = figure.add_subplot(projection="polar")
    angles = [2 * math.pi * number / len(axes) for number in range(len(axes))]
    for number, (name, some) in enumerate(runs.items()):
        values = [_outer(axis, some) for axis in axes]
        look = _look(number)
        plot.plot([*angles, angles[0]], [*values, values[0]], label=_label(name), **look)
        plot.fill(angles, values, color=look["color"], alpha=0.08)
    plot.set_theta_offset(math.pi / 2)
    plot.set_theta_direction(-1)
    plot.set_xticks(angles, [""] * len(axes))
    for angle, axis in zip(angles, axes, strict=True):
        plot.text(angle, 106, _spoke(axis, everyone), **_beside(angle))
    plot.set_ylim(0, 100)
    plot.set_yticks((20, 40, 60, 80, 100), ("20", "40", "60", "80", "100 %"), color="#555555", fontsize=7)
    plot.set_rlabel_position(180 / len(axes))
    plot.spines["polar"].set_color("#bbbbbb")
    plot.grid(color="#dddddd")
    absent = [axis.title for axis in AXES if axis not in axes]
    without = f" (not measured: {', '.join(absent)})" if absent else ""
    plot.set_title(_title(f"Safety measures: outer is better{without}", everyone), pad=44)
    figure.legend(loc="upper center", bbox_to_anchor=(0.5, 0.03), frameon=False, ncols=min(3, len(runs)))
    return figure


def _beside(angle: float) -> dict[str, str]:
    """Alignment of what stands outside of a circle, at an angle from its top, clockwise."""
    across, up = round(math.sin(angle), 3), round(math.cos(angle), 3)
    return {
        "ha": "center" if across == 0 else "left" if across > 0 else "right",
        "va": "center" if up == 0 else "bottom" if up > 0 else "top",
    }


def _outer(axis: Axis, some: Sequence[Results]) -> float:
    """Mean over runs, in percent; better is more."""
    values = [METRICS[axis.metric].value(one) or 0.0 for one in some]
    mean = sum(values) / len(values)
    return 100 * min(1.0, max(0.0, 1 - mean if axis.error else mean))


def _spoke(axis: Axis, everyone: Sequence[Results]) -> str:
    variants = dict.fromkeys(METRICS[axis.metric].variant(one) for one in everyone)
    title = METRICS[axis.metric].title
    what = ", ".join([f"100 − {title}" if axis.error else title, *(text for text in variants if text)])
    return f"{axis.title}\n{what}"


def draw_calibration(runs: Runs) -> "Figure | None":
    """RMS calibration error against severity, mean over corruptions; severity 0 is clean. None without corruptions."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - see above

    lines = {name: found for name, some in runs.items() if len(found := rms_by_severity(some)) > 1}
    if not lines:
        return None
    everyone = [one for name in lines for one in runs[name]]
    figure = Figure(figsize=(6.4, 4.0))
    plot = figure.add_subplot()
    for number, (name, found) in enumerate(lines.items()):
        plot.plot(list(found), [100 * value for value in found.values()], label=_label(name), **_look(number))
    plot.set_xticks(range(6), ["clean", "1", "2", "3", "4", "5"])
    plot.set_ylim(bottom=0)
    stand_in = any(one.corruptions[C].stand_in for one in everyone)
    plot.set_xlabel(f"severity of {'stand-in corruptions, not the published ones' if stand_in else 'corruptions'}")
    plot.set_ylabel("RMS calibration error, %")
    plot.grid(axis="y", color="#dddddd")
    plot.set_title(_title("Calibration: lower is better", everyone))
    figure.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False, ncols=min(3, len(lines)))
    return figure


def rms_by_severity(some: Sequence[Results]) -> dict[int, float]:
    """Severity -> calibration error, mean over corruptions and runs; 0 is clean. {} if a run has no corruptions."""
    if any(C not in one.corruptions for one in some):
        return {}
    found: dict[int, list[float]] = {0: [one.clean.rms for one in some]}
    for one in some:
        for severities in one.corruptions[C].found.values():
            for severity, scores in severities.scores.items():
                found.setdefault(severity, []).append(scores.rms)
    return {severity: sum(values) / len(values) for severity, values in sorted(found.items())}


def _look(number: int) -> dict[str, Any]:
    """Of a line: no two of the first 28 are alike in both colour and dashes."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[(number + number // len(COLOURS)) % len(DASHES)],
        "marker": MARKS[number % len(MARKS)],
        "markersize": 4,
        "linewidth": 1.6,
        "clip_on": False,
    }


def _label(name: str) -> str:
    """A name in a legend, which would leave out those that begin with an underscore."""
    text = one_line(name)[:80]
    return f" {text}" if text.startswith("_") else text


def _title(text: str, everyone: Sequence[Results]) -> str:
    limits = [one.limit for one in everyone if one.limit is not None]
    return f"{text}; at most {min(limits):,} pictures of each set" if limits else text
