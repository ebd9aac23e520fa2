"""Compiled integer kernels on uint8 images: pure functions of their arguments, without bounds checks."""
