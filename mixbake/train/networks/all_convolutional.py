"""The All-Convolutional network (Springenberg et al., arXiv 1412.6806), as the AugMix code has it.

    three 3×3, 96 channels → max pooling, dropout → three 3×3, 192 channels → max pooling, dropout
    → 3×3 without padding, two 1×1, 192 channels → mean → linear

Rule: what the AugMix code computes is kept, oddities and all, so that its weights mean the same here: pooling
instead of strides, normalisation, a smooth activation, padded 1×1 convolutions, a mean over a corner.
"""

import torch
import torch.nn.functional as F  # noqa: N812 - the name that torch's own documentation gives it
from torch import Tensor, nn

WINDOW = 8


class ConvolutionLayer(nn.Module):
    """Convolution with bias, normalisation, x·σ(1.702x): GELU's sigmoid form (Hendrycks & Gimpel, arXiv 1606.08415)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """B×inputs×H×W to B×outputs×H'×W'."""
        out: Tensor = self.norm(self.conv(x))
        return out * torch.sigmoid(1.702 * out)


class AllConvolutional(nn.Module):
    """Nine convolutions and a linear layer, for pictures of at least 12 pixels."""

    def __init__(self, *, classes: int, dropout: float) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            ConvolutionLayer(3, 96, 3, padding=1),
            ConvolutionLayer(96, 96, 3, padding=1),
            ConvolutionLayer(96, 96, 3, padding=1),
        )
        self.stage2 = nn.Sequential(
            ConvolutionLayer(96, 192, 3, padding=1),
            ConvolutionLayer(192, 192, 3, padding=1),
            ConvolutionLayer(192, 192, 3, padding=1),
        )
        self.stage3 = nn.Sequential(
            ConvolutionLayer(192, 192, 3, padding=0),
            ConvolutionLayer(192, 192, 1, padding=1),
            ConvolutionLayer(192, 192, 1, padding=1),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(192, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits, B×classes, of normalised images B×3×H×W."""
        x = self.dropout(F.max_pool2d(self.stage1(images), 2))
        x = self.dropout(F.max_pool2d(self.stage2(x), 2))
        x = self.stage3(x)
        # A picture of 32×32 is 10×10 here, and the published pooling, 8×8 without padding, sees its top-left corner
        # alone. So does this one; of larger pictures it sees every whole window, and their mean is taken.
        x = F.avg_pool2d(x, (min(WINDOW, x.shape[2]), min(WINDOW, x.shape[3])))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits
