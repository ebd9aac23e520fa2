"""Wide residual networks for small pictures (Zagoruyko & Komodakis, arXiv 1605.07146, table 1).

    3×3 stem, 16 channels → three stages of 16k, 32k, 64k channels, the last two at half the side → mean → linear

Rule: blocks are pre-activated. Where a block changes the number of channels, its shortcut is a 1×1 convolution of
the activated input; everywhere else the input itself passes.
"""

import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from torch import Tensor, nn

from mixbake.errors import UsageError


class PreActivationBlock(nn.Module):
    """Twice normalise, ReLU, 3×3 convolution, with dropout between the two (section 2.4), beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×outputs×H/stride×W/stride."""
        activated = F.relu(self.norm1(x), inplace=True)
        out: Tensor = self.conv1(activated)
        out = self.dropout(F.relu(self.norm2(out), inplace=True))
        out = self.conv2(out)
        return out + (x if self.shortcut is None else self.shortcut(activated))


class WideResNet(nn.Module):
    """WRN-depth-width for any `depth` of 6n + 4; another is a UsageError."""

    def __init__(self, depth: int, width: int, *, classes: int, dropout: float) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 6)
        if rest or blocks < 1:
            raise UsageError(f"wrn{depth}_{width}: depth is 10, 16, 22, 28, 34, 40, ... (6n + 4), not {depth}")
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.stage1 = _stage(16, 16 * width, blocks, stride=1, dropout=dropout)
        self.stage2 = _stage(16 * width, 32 * width, blocks, stride=2, dropout=dropout)
        self.stage3 = _stage(32 * width, 64 * width, blocks, stride=2, dropout=dropout)
        self.norm = nn.BatchNorm2d(64 * width)
        self.head = nn.Linear(64 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, B×classes, of normalised images B×3×H×W of any size."""
        x = self.stage3(self.stage2(self.stage1(self.stem(images))))
        x = F.relu(self.norm(x), inplace=True)
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


def _stage(inputs: int, outputs: int, blocks: int, *, stride: int, dropout: float) -> nn.Sequential:
    first = PreActivationBlock(inputs, outputs, stride=stride, dropout=dropout)
    others = (PreActivationBlock(outputs, outputs, stride=1, dropout=dropout) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)
