"""Write docs/settings.md, the table of all settings, from `vase.settings`.

python benchmarks/settings_page.py
"""

from pathlib import Path

from vase.config import settings_page

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"

if __name__ == "__main__":
    PAGE.write_text(settings_page(), encoding="utf-8")
