"""Other converters to TFLite: one file per peer, each run in an environment of its own.

A peer is never a dependency: its environment is made in the user's cache folder when a benchmark first
needs it, from the pinned list beside its file.
"""
