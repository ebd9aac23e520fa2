"""The pure core: no input or output, no clock, no global randomness, no torch."""
