"""How much of what the arithmetic promises each runtime keeps: published networks, every format and rank."""
