"""What integers of 8 bits gain and cost: speed, size and signal-to-noise ratio of planned int8 networks."""
