"""Examples: tasks that a network learns in about a minute, and what compression keeps of it."""
