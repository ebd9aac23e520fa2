"""Names of parameters in the published AugMix and PixMix code, as mixbake's own networks call them.

AugMix: Hendrycks et al., arXiv 1912.02781. PixMix: Hendrycks et al., arXiv 2112.05135; its wide residual network is
AugMix's, and an older one of the same shape spells the shortcut `convShortcut`.
Rule: one table a network, module's name there -> here; a table holds for a file when it knows every name in it.
"""

import re
from collections.abc import Collection

PUBLISHED: dict[str, dict[str, str]] = {
    "WideResNet": {
        r"conv1": r"stem",
        r"block([1-3])\.layer\.(\d+)\.bn([12])": r"stage\1.\2.norm\3",
        r"block([1-3])\.layer\.(\d+)\.conv([12])": r"stage\1.\2.conv\3",
        r"block([1-3])\.layer\.(\d+)\.(conv_shortcut|convShortcut)": r"stage\1.\2.shortcut",
        r"bn1": r"norm",
        r"fc": r"head",
    },
    "ResNeXt": {
        r"conv_1_3x3": r"stem",
        r"bn_1": r"norm",
        r"stage_([1-3])\.(\d+)\.conv_reduce": r"stage\1.\2.conv1",
        r"stage_([1-3])\.(\d+)\.bn_reduce": r"stage\1.\2.norm1",
        r"stage_([1-3])\.(\d+)\.conv_conv": r"stage\1.\2.conv2",
        r"stage_([1-3])\.(\d+)\.bn": r"stage\1.\2.norm2",
        r"stage_([1-3])\.(\d+)\.conv_expand": r"stage\1.\2.conv3",
        r"stage_([1-3])\.(\d+)\.bn_expand": r"stage\1.\2.norm3",
        r"stage_([1-3])\.(\d+)\.downsample\.0": r"stage\1.\2.shortcut.conv",
        r"stage_([1-3])\.(\d+)\.downsample\.1": r"stage\1.\2.shortcut.norm",
        r"classifier": r"head",
    },
    "DenseNet": {
        r"conv1": r"stem",
        r"dense([1-3])\.(\d+)\.bn([12])": r"dense\1.\2.norm\3",
        r"dense([1-3])\.(\d+)\.conv([12])": r"dense\1.\2.conv\3",
        r"trans([12])\.bn1": r"transition\1.norm",
        r"trans([12])\.conv1": r"transition\1.conv",
        r"bn1": r"norm",
        r"fc": r"head",
    },
    "AllConvNet": {
        # One list of everything: a layer is three entries (convolution, normalisation, GELU), a stage is three
        # layers, a pooling and a dropout.
        **{
            rf"features\.{11 * stage + 3 * layer + part}": f"stage{stage + 1}.{layer}.{name}"
            for stage in range(3)
            for layer in range(3)
            for part, name in enumerate(("conv", "norm"))
        },
        r"classifier": r"head",
    },
}
"""Network -> pattern of a module's whole name there -> its name here."""


def translate(names: Collection[str]) -> tuple[str, dict[str, str]] | None:
    """The published network that has all these `names`, and each one's name here; None when there is none.

    Names are those of a state dict: a module's and, after the last dot, a tensor's.
    """
    for network, rules in PUBLISHED.items():
        renamed = {name: new for name in names if (new := _rename(name, rules)) is not None}
        # Two names for one tensor would hide one of them.
        if len(set(renamed.values())) == len(names):
            return network, renamed
    return None


def _rename(name: str, rules: dict[str, str]) -> str | None:
    module, _, tensor = name.rpartition(".")
    for pattern, replacement in rules.items():
        if found := re.fullmatch(pattern, module):
            return f"{found.expand(replacement)}.{tensor}"
    return None
