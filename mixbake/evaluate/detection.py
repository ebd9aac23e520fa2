"""How well pictures of no known class are told from those of the test set, by their anomaly scores.

AUROC and AUPR are torchmetrics', from the extra `evaluate`, imported late.
Rule: anomalies are the positives; equal scores are one threshold.
"""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from mixbake.errors import MissingExtra, UsageError
from mixbake.evaluate.results import Anomaly

Scored = NDArray[np.float64]


def measure_detection(known: Scored, unknown: Scored, *, drawn: bool) -> Anomaly:
    """AUROC and AUPR of anomaly scores (`metrics.anomaly_scores`) of test pictures and of anomalies.

    AUPR is average precision; it depends on how many anomalies there are, `anomalies.KNOWN_PER_ANOMALY` in the papers.
    Hendrycks, Mazeika, Dietterich (arXiv 1812.04606), on evaluating detectors. drawn: goes into the result. Raises
    UsageError when either is empty or has a NaN, MissingExtra without torchmetrics.
    """
    if not len(known) or not len(unknown):
        raise UsageError(f"{len(known)} test pictures and {len(unknown)} anomalies: detection needs some of each")
    scores = np.concatenate([known, unknown])
    if broken := int(np.isnan(scores).sum()):
        raise UsageError(f"{broken} of {len(scores)} anomaly scores are NaN: the network is broken")
    measures = import_measures()
    import torch  # noqa: PLC0415 - only those who measure anomalies wait for it

    # Ranks of the distinct scores: what is no probability torchmetrics would send through a sigmoid, in which near
    # scores become equal.
    values, place = np.unique(scores, return_inverse=True)
    ranks = torch.from_numpy(place / len(values))
    positive = torch.from_numpy((np.arange(len(scores)) >= len(known)).astype(np.int64))
    return Anomaly(
        images=len(unknown),
        drawn=drawn,
        auroc=float(measures.binary_auroc(ranks, positive)),
        aupr=float(measures.binary_average_precision(ranks, positive)),
    )


def import_measures() -> ModuleType:
    """torchmetrics' measures of classification. Raises MissingExtra; to be asked before hours of computing."""
    try:
        from torchmetrics.functional import classification  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        if error.name != "torchmetrics":
            raise
        raise MissingExtra("torchmetrics", "evaluate") from error
    return classification
