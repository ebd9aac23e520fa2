"""The numbers by which compiled programs name step kinds, crops and argument units.

Rule: a number never changes its meaning; names in JSON, not these numbers, are what is stored.
"""

ROTATE, SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y = 0, 1, 2, 3, 4
POSTERIZE, SOLARIZE, EQUALIZE, AUTOCONTRAST, GRAYSCALE, MIRROR, INVERT = 5, 6, 7, 8, 9, 10, 11
COLOR, CONTRAST, BRIGHTNESS, SHARPNESS = 12, 13, 14, 15
ARITHMETIC, GEOMETRIC, PIXEL, ELEMENT, WEIGHTED = 20, 21, 22, 23, 24

CROP_PAD, CROP_RESIZED, CROP_FIT = 0, 1, 2

MAX_SOURCES = 8
MAX_ARGS = 8
