"""AUROC and AUPR against scikit-learn, with many equal scores, and at their extremes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixbake.core.rng import stream
from mixbake.errors import UsageError
from mixbake.evaluate.detection import measure_detection

pytest.importorskip("torchmetrics")


@settings(max_examples=30, deadline=None)
@given(
    known=st.integers(1, 120),
    unknown=st.integers(1, 120),
    levels=st.sampled_from([1, 2, 5, 1000]),
    seed=st.integers(0, 2**31),
)
def test_auroc_and_aupr_are_scikit_learns_however_many_scores_are_equal(
    known: int, unknown: int, levels: int, seed: int
) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    rng = stream("test", "scores", seed)
    # Nearer to each other than float32 could tell.
    scores = -1 + 1e-9 * np.concatenate([rng.integers(0, levels, known), rng.integers(0, levels, unknown) + 1])
    positive = np.arange(known + unknown) >= known
    found = measure_detection(scores[:known], scores[known:], drawn=True)
    assert found.auroc == pytest.approx(sklearn.roc_auc_score(positive, scores), abs=1e-6)
    assert found.aupr == pytest.approx(sklearn.average_precision_score(positive, scores), abs=1e-6)
    assert (found.images, found.drawn) == (unknown, True)


def test_extremes() -> None:
    sure, unsure = np.full(500, -1.0), np.full(100, -0.1)
    told = measure_detection(sure, unsure, drawn=False)
    assert (told.auroc, told.aupr, told.drawn) == (pytest.approx(1), pytest.approx(1), False)
    fooled = measure_detection(unsure, sure, drawn=False)
    assert (fooled.auroc, fooled.aupr) == (pytest.approx(0), pytest.approx(500 / 600))
    blind = measure_detection(sure, sure[:100], drawn=False)
    assert (blind.auroc, blind.aupr) == (pytest.approx(0.5), pytest.approx(100 / 600))


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UsageError, match="3 test pictures and 0 anomalies"):
        measure_detection(np.zeros(3), np.zeros(0), drawn=False)
    with pytest.raises(UsageError, match="1 of 5 anomaly scores are NaN"):
        measure_detection(np.array([0.0, np.nan, 0.0]), np.zeros(2), drawn=False)


def test_without_torchmetrics_the_extra_is_named(tmp_path: Path, python: Callable[..., Any]) -> None:
    (tmp_path / "torchmetrics.py").write_text("raise ModuleNotFoundError(name='torchmetrics')")
    asked = "from mixbake.evaluate.detection import import_measures; import_measures()"
    done = python(f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {asked}")
    assert "MissingExtra" in done.err
    assert "pip install '.[evaluate]'" in done.err
