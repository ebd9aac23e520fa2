"""The bake itself: blocks of images in, published shards out."""
