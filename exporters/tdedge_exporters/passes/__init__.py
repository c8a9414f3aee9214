"""Exact rewrites of ONNX graphs: one per file, each with its algebra, its condition and its reasons."""
