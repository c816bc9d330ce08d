"""Scores of checkpoints, by the protocols of the benchmarks."""
