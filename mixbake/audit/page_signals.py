"""Signals on the audit's page: classes, measures of pictures, what stands out, likenesses, leaks.

Rule: each table says on how many variants it stands.
"""

import re
from collections.abc import Iterable, Mapping

from mixbake.audit.gallery import Exhibit
from mixbake.audit.markup import Html, listed, table, tag, text, together
from mixbake.audit.page_gallery import card, cards
from mixbake.audit.plots import MOST_ROWS, counts, span
from mixbake.audit.report import MOST_ALIKE, OF_EACH
from mixbake.audit.signals import SIGNALS, Alike, Group, Quantiles, Signals, Worst

GROUPS = {"all": "", "layer": "By layer", "op": "By operation", "blend": "By blend, the first of a variant"}
MEASURES = {
    "constant": ("Near constant", "standard deviation {:.3g}"),
    "ssim": ("Least like their source crop, by SSIM", "SSIM {:.3f}"),
    "psnr": ("Least like their source crop, by PSNR", "PSNR {:.1f} dB"),
    "correlation": ("Least correlated with their source crop", "correlation {:.3f}"),
}
"""Of `Worst`: a heading, and how a value is said."""


def show_classes(signals: Signals) -> Html:
    """Images of every class, and skipped ones."""
    rows = signals.per_class
    baked = [(name, images) for name, images, _ in rows]
    skipped = [(name, images, lost) for name, images, lost in rows if lost]
    drawn = counts(baked, caption="Images baked of each class", head=("Class", "Images"))
    if len(rows) > MOST_ROWS:
        least, most = min(count for _, count in baked), max(count for _, count in baked)
        words = f"{len(rows):,} classes with {least:,} to {most:,} images"
        drawn = tag("details", tag("summary", words), drawn, class_="more")
    if not skipped:
        return together([drawn, tag("p", "No image of any class was skipped.")])
    lost = [(name, f"{images:,}", f"{gone:,}", f"{gone / (images + gone):.1%}") for name, images, gone in skipped]
    head = "Class", "Baked", "Skipped", "Share skipped"
    return together([drawn, table(head, lost, caption="Classes with skipped images", numbers=3)])


def show_signals(signals: Signals, close_ups: Mapping[str, Exhibit]) -> Html:
    """Everything that pictures tell."""
    n = f"{signals.measured:,} of {signals.variants:,} variants"
    parts = [
        tag("p", f"Measured on {n}, seed {signals.seed}. Signals inform; they prove nothing."),
        tag("p", _compared(signals)),
        _named(signals),
        tag("h3", "Likeness to the source, and variety"),
        _groups(signals.groups),
        tag("p", _LEGEND, class_="legend"),
        tag("h3", "What stands out"),
        *_worst(signals.worst, close_ups),
        tag("h3", "Identical and nearly identical variants"),
        *_alike(signals, close_ups, n),
        tag("h3", "Leaks from a test set"),
        *_leaks(signals),
        tag("h3", "Overlap with ImageNet-C"),
        _overlap(signals),
    ]
    return together(parts)


_LEGEND = (
    "Near constant: share of pictures almost without differences. SSIM, PSNR and correlation compare a variant with "
    "its source crop; lines are drawn from 0 to 1, for PSNR from 0 to 40 dB. "
    "Affinity: mean distance to the source crop. Diversity: mean distance of two variants of one image; both root mean "
    "square, 0 to 1. –: not measured."
)


def _named(signals: Signals) -> Html:
    found = signals.named
    rows = [(name, words, f"{found[name]:,.4g}" if name in found else "–") for name, words in SIGNALS.items()]
    return table(
        ("Name", "What it is", "Found"), rows, caption="What --fail-on can name, with a limit or none", numbers=1
    )


def _compared(signals: Signals) -> str:
    crops = {"clean": "Crops are the bake's own clean ones.", "source": "Crops are cut from the source."}
    return crops.get(signals.crops, f"Variants were compared with no crop.{_reason(signals)}")


def _reason(signals: Signals) -> str:
    """Why the source was not looked at, where it was wanted and was not at hand."""
    return f" Reason: {signals.missing}" if signals.missing else ""


def _groups(groups: Iterable[Group]) -> Html:
    known = list(groups)
    rows: list[tuple[object, ...]] = []
    for by, heading in GROUPS.items():
        found = [_row(one) for one in known if one.by == by]
        rows += [(heading,), *found] if heading and found else found
    head = "Variants of", "n", "Near constant", "SSIM", "PSNR, dB", "Correlation", "Affinity", "Diversity"
    return table(head, rows, caption="Medians; below them 5 % to 95 % of the variants", numbers=7)


def _row(one: Group) -> tuple[object, ...]:
    return (
        one.value,
        f"{one.n:,}",
        f"{one.constant:.2%}",
        _quantiles(one.ssim, "{:.2f}", 1),
        _quantiles(one.psnr, "{:.1f}", 40),
        _quantiles(one.correlation, "{:.2f}", 1),
        "–" if one.affinity is None else f"{one.affinity:.3f}",
        "–" if one.diversity is None else f"{one.diversity:.3f}",
    )


def _quantiles(found: Quantiles | None, form: str, most: float) -> Html:
    if found is None:
        return text("–")
    low, median, high = (_signed(form.format(value)) for value in (found.low, found.median, found.high))
    return together([tag("b", median), span(found, 0, most), tag("small", f"{low} to {high}")])


def _signed(number: str) -> str:
    """With a minus of its own, and none before nothing."""
    return number.replace("-", "−") if re.search("[1-9]", number) else number.replace("-", "")


def _worst(worst: Iterable[Worst], close_ups: Mapping[str, Exhibit]) -> Iterable[Html]:
    known = list(worst)
    for measure in dict.fromkeys(one.measure for one in known):
        heading, form = MEASURES.get(measure, (measure, "{:.4g}"))
        shown = [
            card(close_ups[one.key], beside=True, note=_signed(form.format(one.value)))
            for one in known
            if one.measure == measure and one.key in close_ups
        ]
        yield tag("h4", heading)
        yield cards(shown)
    if known:
        yield tag("p", "At the left of each the crop that it was made from, where that is known.", class_="legend")
    else:
        yield tag("p", "Nothing was measured that could stand out.")


def _alike(signals: Signals, close_ups: Mapping[str, Exhibit], n: str) -> Iterable[Html]:
    counted = (
        ("Equal pixels, different images", signals.identical),
        ("Equal pixels, different labels", signals.conflicting),
        ("Nearly the same, different images", signals.near),
    )
    rows = [(name, f"{count:,}") for name, count in counted]
    yield table(("Groups of variants", "Groups"), rows, caption=f"Likenesses among {n}", numbers=1)
    if signals.unlooked:
        yield tag("p", f"{signals.unlooked:,} pairs of perceptual hashes were too many to be compared.")
    for group in signals.alike[:MOST_ALIKE]:
        shown = [card(close_ups[key]) for key in group.keys[:OF_EACH] if key in close_ups]
        more = tag("p", f"and {group.count - len(shown):,} more", class_="legend") if group.count > len(shown) else ""
        yield together([tag("h4", _group_words(group)), cards(shown), more])
    if len(signals.alike) > MOST_ALIKE:
        yield tag("p", f"Shown are the first {MOST_ALIKE} groups.", class_="legend")


def _group_words(group: Alike) -> str:
    words = "of equal pixels" if group.exact else "nearly the same, by perceptual hash"
    label = "of one label" if group.same_label else "of DIFFERENT LABELS"
    image = "from one image" if group.same_image else "from different images"
    return f"{group.count:,} variants {words}, {label}, {image}"


_KNOWN = {
    "source": "the images of the source",
    "clean": "the clean crops that were measured, which a test picture hardly ever equals",
    "mix": "the variants that were measured, which a test picture hardly ever equals",
}


def _leaks(signals: Signals) -> Iterable[Html]:
    if signals.against is None:
        yield tag("p", "Not looked for: name a folder of test pictures with --against.")
        return
    unreadable = f" ({signals.unreadable:,} of them unreadable)" if signals.unreadable else ""
    pictures = f"{signals.against_pictures:,} pictures in {signals.against}{unreadable}"
    yield tag("p", f"{pictures}, compared with {_KNOWN.get(signals.known, 'nothing')}.{_reason(signals)}")
    if not signals.leaks:
        whole = signals.known == "source"
        yield tag("p", f"None of them is {'an image that the bake was made of' if whole else 'among these'}.")
        return
    head = "Test picture", "Image of the bake", "Likeness", "Number"
    rows = [
        (one.against, one.source, "the same pixels" if one.exact else "perceptual hash", f"{one.image:,}")
        for one in signals.leaks
    ]
    caption = f"{signals.leaked:,} test pictures that are images of the bake"
    yield table(
        head, rows, caption=caption if signals.leaked == len(rows) else f"{caption}, the first {len(rows):,}", numbers=1
    )


def _overlap(signals: Signals) -> Html:
    if not signals.overlap:
        return tag("p", "No operation of this bake is also a corruption of ImageNet-C.")
    words = "Scores on ImageNet-C and its kin must say that these operations of the bake are also corruptions there:"
    return together([tag("p", words), listed(signals.overlap)])
