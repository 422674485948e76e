"""Figures and one page from a run folder, for people who were not there.

This package learns and measures nothing: it draws the records of a run, its averaged networks and
the results of the probes. Only this package imports Matplotlib.
"""

from vase.report.page import write_report

__all__ = ["write_report"]
