"""Optimizer, clock and disk: the loop, the run folder, the checkpoint."""
