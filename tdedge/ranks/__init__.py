"""Rank rules: one per file, each ``choose(dense, fmt, ...) -> ranks`` for one layer and one format.

Ranks are those of one group. For a grouped layer every group is asked and the largest answer counts, since
all groups are decomposed at the same ranks. Formats clamp what is too large for the chain they build.
"""
