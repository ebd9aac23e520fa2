"""ResNet-18 for small pictures (He et al., arXiv 1512.03385).

    3×3 stem, 64 channels, no pooling → four stages of two blocks, 64 to 512 channels, each but the first at half
    the side → mean → linear

Rule: the blocks are those of the 18-layer network of the paper's table 1; only the stem is another, since a 7×7
convolution and a pooling, each at half the side, would leave 8×8 of a picture of 32×32.
"""

from collections import OrderedDict

import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions, normalised, beside a shortcut; ReLU after the first and after the sum."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = project(inputs, outputs, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×outputs×H/stride×W/stride."""
        out = F.relu(self.norm1(self.conv1(x)), inplace=True)
        out = self.norm2(self.conv2(out))
        return F.relu(out + self.shortcut(x), inplace=True)


class ResNet18(nn.Module):
    """ResNet-18 with a stem for pictures of about 32 pixels."""

    def __init__(self, *, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(64)
        self.stage1 = nn.Sequential(BasicBlock(64, 64, stride=1), BasicBlock(64, 64, stride=1))
        self.stage2 = nn.Sequential(BasicBlock(64, 128, stride=2), BasicBlock(128, 128, stride=1))
        self.stage3 = nn.Sequential(BasicBlock(128, 256, stride=2), BasicBlock(256, 256, stride=1))
        self.stage4 = nn.Sequential(BasicBlock(256, 512, stride=2), BasicBlock(512, 512, stride=1))
        self.head = nn.Linear(512, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, B×classes, of normalised images B×3×H×W of any size."""
        x = F.relu(self.norm(self.stem(images)), inplace=True)
        x = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def project(inputs: int, outputs: int, *, stride: int) -> nn.Module:
    """A shortcut: the input itself where the shape stays, else a normalised 1×1 convolution (option B, section 4.1)."""
    if inputs == outputs and stride == 1:
        return nn.Identity()
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(outputs)))
