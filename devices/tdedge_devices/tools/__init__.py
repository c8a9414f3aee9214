"""Benchmark programs of the runtimes themselves, for devices without Python: run them, read what they say."""
