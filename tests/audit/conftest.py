"""Bakes that several tests tamper with copies of."""

from tampering import bakes  # noqa: F401 - a fixture, which tests ask for by name
