"""Bytes at rest: atomic files, codecs, tar records, plans, indexes."""
