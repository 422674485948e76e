"""Figures and one page from a run folder, for people who were not there.

Nothing is learnt or measured here: the run's records, its averaged networks and the answers of the
probes are turned into pictures. Matplotlib is imported in this room only.
"""

from vase.report.page import write

__all__ = ["write"]
