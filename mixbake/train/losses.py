"""What is minimised: cross entropy, and AugMix's consistency between three views of an image.

Rule: pure functions of tensors, in float32 whatever type the logits come in, also under autocast.
"""

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from torch import Tensor

from mixbake.errors import UsageError

_LEAST_SHARE = 1e-7  # AugMix's code: the mixture is held above it, so that its logarithm stays finite
_NAMED = 5


def cross_entropy(logits: Tensor, targets: Tensor, *, weight: Tensor | None = None, smoothing: float = 0.0) -> Tensor:
    """The mean cross entropy of a batch: float32, no dimensions.

    logits: float[B, K] of any float type. targets: labels, int64[B], or probabilities, float32[B, K].
    weight: float32[K], a factor for each class. With labels the sum is divided by the weights of the batch's
    labels, with probabilities by B, as torch has it; `class_weights` makes the two alike in the mean.
    smoothing: share of each target that is spread evenly over all K classes (Szegedy et al. 2016,
    arXiv 1512.00567, section 7).
    """
    return F.cross_entropy(logits.float(), targets, weight=weight, label_smoothing=smoothing)


def jsd_loss(
    logits_clean: Tensor,
    logits_mix1: Tensor,
    logits_mix2: Tensor,
    targets: Tensor,
    *,
    consistency: float = 12.0,
    weight: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """AugMix's loss: float32, no dimensions (Hendrycks et al. 2020, arXiv 1912.02781, section 3).

    cross entropy of the clean view + consistency · (KL(p‖M) + KL(p1‖M) + KL(p2‖M)) / 3, a mean over the batch.
    M is the mean of the three distributions, held within 1e-7 and 1 as in the published code; below that bound
    the divergence of views that agree is not 0 but slightly negative, at most K · 4e-8.
    logits: float[B, K] for each of the three views. targets, weight, smoothing: as for `cross_entropy`.
    """
    # From logarithms: of a probability that has become 0 in float32, torch's gradient of p · log p is NaN.
    views = [F.log_softmax(logits.float(), dim=1) for logits in (logits_clean, logits_mix1, logits_mix2)]
    # The mixes first, here and below: then their order does not even matter to the last digit.
    mixture = (views[0].exp() + (views[1].exp() + views[2].exp())) / 3
    log_mixture = mixture.clamp(_LEAST_SHARE, 1).log()
    to_clean, to_mix1, to_mix2 = (F.kl_div(log_mixture, view, reduction="batchmean", log_target=True) for view in views)
    divergence = (to_clean + (to_mix1 + to_mix2)) / 3
    return cross_entropy(logits_clean, targets, weight=weight, smoothing=smoothing) + consistency * divergence


def class_weights(counts: Tensor, *, classes: Sequence[str]) -> Tensor:
    """Inverse frequencies of the classes: float32[K], n / (K · count), whose mean over the n images is 1.

    counts: int64[K], images of each class. classes: their K names. Raises UsageError when a class has no image.
    """
    empty = [name for name, count in zip(classes, counts.tolist(), strict=True) if count == 0]
    if empty:
        more = f" and {len(empty) - _NAMED} more" if len(empty) > _NAMED else ""
        raise UsageError(
            f"no image of class {', '.join(map(repr, empty[:_NAMED]))}{more}: a class without images has no weight; "
            "train without class weights, or bake a source in which every class has an image"
        )
    return (counts.sum().double() / (len(classes) * counts.double())).float()
