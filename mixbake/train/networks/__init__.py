"""Networks to train, one file a family, and the catalog that builds them by name."""
