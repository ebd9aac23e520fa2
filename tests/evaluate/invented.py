"""Results that nobody measured, for what only reads results."""

from typing import Any

from mixbake.evaluate.corruptions import CORRUPTIONS
from mixbake.evaluate.results import Anomaly, Attacked, C, Corrupted, Flips, Perturbed, Results, Scores, Severities

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def scores(error: float, rms: float = 0.1) -> Scores:
    return Scores(images=100, error=error, rms=rms, brier=0.2, aurra=0.9)


def invent(
    recipe: str = "plain",
    seed: int = 0,
    error: float = 0.1,
    *,
    stand_in: bool = False,
    corruptions: int | dict[str, Corrupted] = 15,
    **others: Any,
) -> Results:
    """A run of that recipe. error: clean; of severity s it is error + s/50. corruptions: how many, or the groups.

    others: fields of Results.
    """
    kinds = corruptions if isinstance(corruptions, int) else 0
    group = Corrupted(
        label="stand-ins, generated here; not CIFAR-10-C" if stand_in else "CIFAR-10-C",
        stand_in=stand_in,
        imagenet=False,
        pooled=True,
        found={
            name: Severities(
                scores={severity: scores(error + severity / 50, severity / 50) for severity in range(1, 6)}, rms=0.05
            )
            for name in list(CORRUPTIONS)[:kinds]
        },
    )
    given: dict[str, Any] = {
        "model": {
            "model": "wrn40_4",
            "classes": CIFAR10,
            "seed": seed,
            "training": {"loss": "cross_entropy", "mix": "none"},
            "baking": {"recipe": {"name": recipe, "family": recipe.partition("-")[0]}},
        },
        "source": "cifar10:data,split=test",
        "limit": None,
        "device": "cpu",
        "precision": "float32",
        "clean": scores(error, 0.02),
        "corruptions": {C: group} if kinds else corruptions or {},
        "attacked": Attacked(kind="published", images=100, error=0.9, steps=20, step=0.5, epsilon=2.0, farthest=2.5),
        "perturbed": Perturbed(
            label="CIFAR-10-P",
            flips={f"p{n}": Flips(videos=5, frames=3, flip_probability=0.05, top5_distance=1.5) for n in range(10)},
        ),
        "seen": dict.fromkeys(("clean", "C-fog", "C-bar-perlin_noise", "anomaly-set0", "anomaly-set3"), "a"),
        "anomalies": {f"set{n}": Anomaly(images=50, drawn=n < 3, auroc=0.9, aupr=0.6) for n in range(7)},
    }
    return Results(**given | others)
