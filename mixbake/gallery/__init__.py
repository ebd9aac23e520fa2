"""One image through every recipe, layer, operation and blend, to be looked at."""
