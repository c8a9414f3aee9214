"""Ranks chosen by measured time, against ranks chosen by multiply-accumulates and uniform ones."""
