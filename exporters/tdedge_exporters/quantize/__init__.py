"""int8: calibrated once on the user's data, written as one QDQ graph that all three runtimes execute."""
