"""Projected gradient descent: pictures moved, within a small ball, to where the network errs most.

Madry, Makelov, Schmidt, Tsipras, Vladu, "Towards deep learning models resistant to adversarial attacks" (arXiv
1706.06083), section 2.1, with the largest change of any value as the distance (ℓ∞). Steps, step size and radius are
PixMix's (arXiv 2112.05135), on adversarial attacks.
Rule: pixels lie in [0, 1], normalising is the network's side; always float32; a picture's random start depends on the
seed and its place in the whole set alone, whatever the limit.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from mixbake.core.rng import stream

Pixels = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """steps: how many. step, epsilon: length of one, radius of the ball, of pixels from 0 to 255.

    moves: the ball is about the random start, not about the picture.
    """

    steps: int
    step: float
    epsilon: float
    moves: bool


ATTACKS: Mapping[str, Attack] = {
    "exact": Attack(steps=20, step=0.5, epsilon=2.0, moves=False),
    "published": Attack(steps=20, step=0.5, epsilon=2.0, moves=True),
}
"""exact: the attack that the paper describes. published: what the code of PixMix, IPMix and LayerMix does.

That code adds the random start to the picture in place, so that the ball, too, is about the start from then on, and
the result may be up to 4/255 from the picture. As the half of that way that is random leads anywhere, the loss rises,
to first order and on average, no more than in the exact ball. The start may leave [0, 1]; later steps do not.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversarial:
    """images: float32 B×3×H×W in [0, 1], on the device. predicted: int64[B], the network's labels of them.

    farthest: greatest distance of any value from its picture, of pixels from 0 to 255.
    """

    images: torch.Tensor
    predicted: torch.Tensor
    farthest: float


def attack(
    network: nn.Module,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int64],
    *,
    kind: Attack,
    mean: Sequence[float],
    std: Sequence[float],
    device: torch.device,
    seed: int,
    places: Sequence[int],
) -> Adversarial:
    """Adversarial versions of pictures uint8 B×H×W×3 with labels int64[B], against a network on `device`.

    network: with float32 parameters; it is left in evaluation mode, and they get no gradients. mean, std: of the
    training, of pixels in [0, 1]. places: of the pictures in their whole set; each starts at random from a stream
    of its own, (seed, "attack", place), so that batches may have any size, and hold any choice of the set.
    """
    originals = (pictures / 255.0).astype(np.float32)
    begun = _begin(originals, kind, seed, places)
    network.eval()
    with torch.inference_mode(False), torch.autocast(device.type, enabled=False), _exact_convolutions():
        images, low, high = (torch.from_numpy(values).to(device).permute(0, 3, 1, 2) for values in begun)
        truth = torch.from_numpy(labels).to(device)
        middle, spread = (torch.tensor(one, dtype=torch.float32, device=device)[:, None, None] for one in (mean, std))
        for _ in range(kind.steps):
            with torch.enable_grad():
                images = images.detach().requires_grad_()
                # Summed: a mean would make small gradients smaller still, and depend on the size of the batch.
                loss = functional.cross_entropy(network((images - middle) / spread), truth, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, images)
            moved = images.detach() + gradient.sign() * (kind.step / 255)
            images = torch.minimum(torch.maximum(moved, low), high)
        with torch.no_grad():
            predicted = network((images - middle) / spread).argmax(1)
    reached = images.permute(0, 2, 3, 1).cpu().numpy()
    farthest = np.abs(reached.astype(np.float64) - originals).max(initial=0.0)
    return Adversarial(images=images, predicted=predicted, farthest=float(farthest * 255))


def _exact_convolutions() -> AbstractContextManager[None]:
    """cuDNN with whole float32 numbers, where it would round to ten bits on its own, and the same ones each time."""
    cudnn = torch.backends.cudnn
    return cudnn.flags(enabled=cudnn.enabled, benchmark=False, deterministic=True, allow_tf32=False)


def _begin(originals: Pixels, kind: Attack, seed: int, places: Sequence[int]) -> tuple[Pixels, Pixels, Pixels]:
    """Where pictures start, and the least and greatest values that they may take from then on: B×H×W×3 each."""
    epsilon = kind.epsilon / 255
    noise = np.stack(
        [
            stream(seed, "attack", place).uniform(-epsilon, epsilon, one.shape)
            for place, one in zip(places, originals, strict=True)
        ]
    )
    low, high = _ball(originals, epsilon)
    start = np.clip((originals + noise).astype(np.float32), low, high)
    if kind.moves:
        low, high = _ball(start, epsilon)
        return start, low.clip(0, 1), high.clip(0, 1)
    low, high = low.clip(0, 1), high.clip(0, 1)
    return start.clip(low, high), low, high


def _ball(centre: Pixels, epsilon: float) -> tuple[Pixels, Pixels]:
    """The outermost float32 values that are no farther than `epsilon` from the centre.

    The nearest float32 to centre ± epsilon may lie outside of the ball by its rounding; then the next one inside is it.
    """
    exact = centre.astype(np.float64)
    low, high = (exact - epsilon).astype(np.float32), (exact + epsilon).astype(np.float32)
    low = np.where(exact - low > epsilon, np.nextafter(low, np.float32(np.inf)), low)
    high = np.where(high - exact > epsilon, np.nextafter(high, np.float32(-np.inf)), high)
    return low, high
