"""Probes evaluate a trained model against the ground truth, which the learner never sees."""

from vase.probes.evaluate import evaluate_run

__all__ = ["evaluate_run"]
