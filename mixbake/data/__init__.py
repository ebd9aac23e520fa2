"""Where pictures come from: labelled sources and mixing sets."""
