"""How well a trained network does: on pictures it has not seen, clean and corrupted."""
