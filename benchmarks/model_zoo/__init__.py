"""Published networks at full size, with seeded random weights: shapes and costs are theirs, nothing else."""
