"""One file a recipe: each draws programs for the one renderer."""
