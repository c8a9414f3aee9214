"""Accuracy kept: fine-tuning, local reconstruction without labels, and guards against degenerate chains."""
