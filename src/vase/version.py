"""The version of this package; pyproject.toml, CITATION.cff and CHANGELOG.md say the same."""

__version__ = "1.0.0"
