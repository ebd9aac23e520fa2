"""Densely connected networks for small pictures (Huang et al., arXiv 1608.06993).

    3×3 stem, 2k channels → three dense blocks; between them 1×1 and pooling at half the side → mean → linear

Rule: a layer adds k channels to all it was given. DenseNet-BC puts a 1×1 bottleneck of 4k channels before each 3×3
(B) and halves the channels between blocks (C); the plain form does neither.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from torch import Tensor, nn

from mixbake.errors import UsageError


class PlainLayer(nn.Module):
    """Normalise, ReLU, 3×3 convolution to `growth` channels, beside the input."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×(inputs + growth)×H×W."""
        out = self.conv1(F.relu(self.norm1(x), inplace=True))
        return torch.cat((x, out), 1)


class BottleneckLayer(nn.Module):
    """The same after a 1×1 convolution to 4·`growth` channels (section 3, "Bottleneck layers")."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×(inputs + growth)×H×W."""
        out = self.conv1(F.relu(self.norm1(x), inplace=True))
        out = self.conv2(F.relu(self.norm2(out), inplace=True))
        return torch.cat((x, out), 1)


class Transition(nn.Module):
    """Normalise, ReLU, 1×1 convolution, 2×2 mean."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×outputs×H/2×W/2."""
        x = F.relu(self.norm(x), inplace=True)
        # The paper pools last. A mean and a 1×1 convolution change places freely, and so there is a quarter to do.
        out: Tensor = self.conv(F.avg_pool2d(x, 2))
        return out


class DenseNet(nn.Module):
    """DenseNet of any `depth` of 3n + 4, with `compressed` DenseNet-BC of 6n + 4; another is a UsageError."""

    def __init__(self, depth: int, growth: int, *, classes: int, compressed: bool) -> None:
        super().__init__()
        step = 6 if compressed else 3
        layers, rest = divmod(depth - 4, step)
        if rest or layers < 1:
            raise UsageError(f"a DenseNet of this kind has {step}n + 4 layers, at least {step + 4}, not {depth}")
        layer = BottleneckLayer if compressed else PlainLayer
        added, shrink = layers * growth, 2 if compressed else 1
        first = 2 * growth
        second = (first + added) // shrink
        third = (second + added) // shrink
        self.stem = nn.Conv2d(3, first, 3, padding=1, bias=False)
        self.dense1 = nn.Sequential(*(layer(first + n * growth, growth) for n in range(layers)))
        self.transition1 = Transition(first + added, second)
        self.dense2 = nn.Sequential(*(layer(second + n * growth, growth) for n in range(layers)))
        self.transition2 = Transition(second + added, third)
        self.dense3 = nn.Sequential(*(layer(third + n * growth, growth) for n in range(layers)))
        self.norm = nn.BatchNorm2d(third + added)
        self.head = nn.Linear(third + added, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, B×classes, of normalised images B×3×H×W of any size from 4 pixels."""
        x = self.transition1(self.dense1(self.stem(images)))
        x = self.transition2(self.dense2(x))
        x = F.relu(self.norm(self.dense3(x)), inplace=True)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits
