"""Lowering to TensorFlow Lite (LiteRT): a ``.tflite`` file, written directly from the graph."""

from tdedge_exporters.tflite.target import lower, probe

__all__ = ["lower", "probe"]
