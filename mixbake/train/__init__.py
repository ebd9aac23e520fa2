"""Training on a bake."""
