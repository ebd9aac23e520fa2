"""Figures that papers published: what errors are normalised by, and rows to put beside one's own.

Rule: literal tables; every figure has its source.
"""

from collections.abc import Mapping

ALEXNET_ERRORS: Mapping[str, float] = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
"""AlexNet's mean error over the five severities of each corruption of ImageNet-C.

Source: google-research/augmix, imagenet.py, ALEXNET_ERR, in the order of its CORRUPTIONS.
"""
