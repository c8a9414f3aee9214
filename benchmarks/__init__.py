"""Ratios anyone can rerun."""
