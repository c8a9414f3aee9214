"""Network to files: capture, exact passes, lowering to each runtime, parity."""
