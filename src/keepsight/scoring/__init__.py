"""Scorers, judges, metrics and the statistics of two checkpoints. Reads samples, outputs and runs; asks no network."""
