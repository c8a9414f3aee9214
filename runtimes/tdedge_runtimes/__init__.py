"""File to running model: numpy and one runtime only; this package is what runs on a device."""
