"""Search of formats and ranks for a whole network: accuracy against measured latency, with Optuna."""
