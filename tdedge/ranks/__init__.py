"""One file per rank rule."""
