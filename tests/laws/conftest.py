"""Bakes that several laws read and none changes."""

from shared_bakes import jsd_bake, mix_bake  # noqa: F401 - fixtures, which tests ask for by name
