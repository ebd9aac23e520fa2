"""mixbake: bake robust-training augmentation ahead of time into WebDataset shards."""

__version__ = "0.1.0"
