"""Charts as inline SVG: what was seen beside what was expected, and ranges of measures.

Rule: colours and lettering are the page's; every number that a chart shows stands beside it as text, or in a title.
"""

from collections.abc import Sequence

from mixbake.audit.markup import Html, table, tag
from mixbake.audit.signals import Quantiles
from mixbake.audit.statistics import Cell

MOST_ROWS = 24
"""Cells that are shown as rows with their numbers; more become a histogram."""
MOST_BARS = 120
WIDTH, HEIGHT = 240, 60


def chart(cells: Sequence[Cell], *, name: str) -> Html:
    """Seen and expected of each cell: a row with a bar each, or a histogram where there are many."""
    if not cells:
        return tag("p", "Nothing to draw: the test has no cells.")
    return _rows(cells, name) if len(cells) <= MOST_ROWS else _histogram(cells, name)


def counts(pairs: Sequence[tuple[str, int]], *, caption: str, head: tuple[str, str]) -> Html:
    """Names with a bar and a number each."""
    most = max((count for _, count in pairs), default=0) or 1
    rows = [(name, _bar(count / most), f"{count:,}") for name, count in pairs]
    return table((head[0], "", head[1]), rows, caption=caption, numbers=1)


def span(quantiles: Quantiles, least: float, most: float) -> Html:
    """A line from the 5 % to the 95 % quantile with a dot at the median, on a scale from least to most."""

    def place(value: float) -> str:
        return f"{100 * min(1.0, max(0.0, (value - least) / (most - least))):.1f}"

    low, high, median = place(quantiles.low), place(quantiles.high), place(quantiles.median)
    return tag(
        "svg",
        tag("line", x1="0", y1="6", x2="100", y2="6", class_="scale"),
        tag("line", x1=low, y1="6", x2=high, y2="6", class_="span"),
        tag("circle", cx=median, cy="6", r="3", class_="median"),
        viewBox="-4 0 108 12",
        class_="range",
        aria_hidden="true",
    )


def _rows(cells: Sequence[Cell], name: str) -> Html:
    most = max(max(cell.seen, cell.expected) for cell in cells) or 1
    rows = [
        (
            cell.value,
            _bar(cell.seen / most, cell.expected / most),
            f"{cell.seen:,}",
            f"{cell.expected:,.1f}",
            _excess(cell),
        )
        for cell in cells
    ]
    caption = f"{name}: bars show what was seen, strokes what was expected; differences in standard errors, σ"
    return table(("Value", "", "Seen", "Expected", "σ"), rows, caption=caption, numbers=3)


def _excess(cell: Cell) -> str:
    """Of a Poisson count: what a difference is worth, whatever the number of cells."""
    if cell.expected <= 0:
        return "–"
    return f"{(cell.seen - cell.expected) / cell.expected**0.5:+.1f}".replace("-", "−")


def _bar(share: float, stroke: float | None = None) -> Html:
    mark = [] if stroke is None else [_stroke(stroke * WIDTH)]
    return tag(
        "svg",
        tag("rect", x="0", y="2", width=f"{share * WIDTH:.1f}", height="8", class_="seen"),
        *mark,
        viewBox=f"0 0 {WIDTH + 2} 12",
        preserveAspectRatio="none",
        class_="bar",
        aria_hidden="true",
    )


def _stroke(x: float) -> Html:
    return tag("line", x1=f"{x:.1f}", y1="0", x2=f"{x:.1f}", y2="12", class_="expected")


def _histogram(cells: Sequence[Cell], name: str) -> Html:
    bars = _merged(cells)
    most = max(max(bar.seen, bar.expected) for bar in bars) or 1
    wide = WIDTH / len(bars)
    drawn: list[Html] = []
    for i, bar in enumerate(bars):
        tall, level = bar.seen / most * HEIGHT, f"{HEIGHT - bar.expected / most * HEIGHT:.2f}"
        left, right = i * wide, (i + 1) * wide
        # Browsers show the title where the pointer rests.
        told = tag("title", f"{bar.value}: seen {bar.seen:,}, expected {bar.expected:,.1f}")
        place = {"x": f"{left:.2f}", "y": f"{HEIGHT - tall:.2f}"}
        drawn.append(tag("rect", told, **place, width=f"{wide * 0.9:.2f}", height=f"{tall:.2f}", class_="seen"))
        drawn.append(tag("line", x1=f"{left:.2f}", y1=level, x2=f"{right:.2f}", y2=level, class_="expected"))
    picture = tag(
        "svg",
        *drawn,
        viewBox=f"0 -1 {WIDTH} {HEIGHT + 2}",
        preserveAspectRatio="none",
        class_="histogram",
        role="img",
        aria_label=f"{name}: {len(bars)} bars of what was seen, with strokes at what was expected",
    )
    merged = f", {len(cells):,} values in {len(bars)} bars" if len(bars) < len(cells) else ""
    ends = tag("div", tag("span", cells[0].value), tag("span", cells[-1].value), class_="ends")
    words = tag(
        "figcaption", f"{name}: bars show what was seen, strokes what was expected; the tallest is {most:,.0f}{merged}"
    )
    return tag("figure", picture, ends, words, class_="chart")


def _merged(cells: Sequence[Cell]) -> list[Cell]:
    """At most MOST_BARS cells: neighbours are added up."""
    step = -(-len(cells) // MOST_BARS)
    groups = [cells[i : i + step] for i in range(0, len(cells), step)]
    return [
        Cell(
            value=group[0].value if len(group) == 1 else f"{group[0].value} to {group[-1].value}",
            seen=sum(cell.seen for cell in group),
            expected=sum(cell.expected for cell in group),
        )
        for group in groups
    ]
