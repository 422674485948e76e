"""Probes: read-only questions to a trained model, with the truth that the learner never saw."""

from vase.probes.evaluate import evaluate_run

__all__ = ["evaluate_run"]
