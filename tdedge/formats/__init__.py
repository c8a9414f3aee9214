"""One file per decomposition."""
