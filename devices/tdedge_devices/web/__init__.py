"""Browsers as devices: a page on any phone measures, this machine hands it models and takes its samples."""
