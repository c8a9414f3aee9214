"""Instruction time of dense and planned networks on an emulated Arm processor."""
