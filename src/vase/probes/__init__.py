"""Probes: read-only questions to a trained model, with the truth that the learner never saw."""

from vase.probes.survey import probe

__all__ = ["probe"]
