"""ResNeXt-29, 4×32d, for small pictures (Xie et al., arXiv 1611.05431), as the AugMix code has it.

    3×3 stem, 64 channels → three stages of three bottlenecks, 256, 512, 1024 channels, the last two at half the
    side → mean → linear

Rule: the bottleneck's inner convolution has CARDINALITY groups; a group is BASE_WIDTH channels wide in a
stage of 64 planes, and widens with the planes.
"""

import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from torch import Tensor, nn

from mixbake.train.networks.resnet import project

CARDINALITY = 4
BASE_WIDTH = 32
EXPANSION = 4
"""A stage's channels, in planes."""


class GroupedBottleneck(nn.Module):
    """1×1, grouped 3×3, 1×1, each normalised, beside a shortcut (figure 3c); ReLU between them and after the sum."""

    def __init__(self, inputs: int, planes: int, *, stride: int) -> None:
        super().__init__()
        inner, outputs = planes * BASE_WIDTH // 64 * CARDINALITY, planes * EXPANSION
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=CARDINALITY, bias=False)
        self.norm2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.norm3 = nn.BatchNorm2d(outputs)
        self.shortcut = project(inputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×4·planes×H/stride×W/stride."""
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = F.relu(self.norm2(self.conv2(out)), inplace=True)
        out = self.norm3(self.conv3(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNeXt29(nn.Module):
    """ResNeXt of 29 layers."""

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.stage1 = _stage(64, 64, stride=1)
        self.stage2 = _stage(64 * EXPANSION, 128, stride=2)
        self.stage3 = _stage(128 * EXPANSION, 256, stride=2)
        self.head = nn.Linear(256 * EXPANSION, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, B×classes, of normalised images B×3×H×W of any size."""
        x = F.relu(self.norm(self.stem(images)), inplace=True)
        x = self.stage3(self.stage2(self.stage1(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def _stage(inputs: int, planes: int, *, stride: int) -> nn.Sequential:
    others = (GroupedBottleneck(planes * EXPANSION, planes, stride=1) for _ in range(2))
    return nn.Sequential(GroupedBottleneck(inputs, planes, stride=stride), *others)
