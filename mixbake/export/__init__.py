"""What a bake is, said to other people's tools; nothing here reads a shard."""
