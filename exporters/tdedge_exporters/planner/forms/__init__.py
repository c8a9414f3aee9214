"""Every form, one per file: the algebra, the condition under which it is exact, the nodes."""
