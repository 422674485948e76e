"""Pages of the site that lie outside of docs/: the results with their pictures, and the changes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

HOME = Path(__file__).parents[1]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is linked to from the pages of docs/, under the same name below the site."""
    outside = [HOME / "RESULTS.md", HOME / "CHANGELOG.md", *(HOME / "results").rglob("*.png")]
    for path in outside:
        name = path.relative_to(HOME).as_posix()
        if path.suffix == ".md":
            content = re.sub(r"\]\(docs/", "](", path.read_text(encoding="utf-8"))
            content = re.sub(r"\[([^\]]+)\]\(results\)", r"\1", content)  # a folder is no page
            files.append(File.generated(config, name, content=content))
        else:
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to what lies beside docs/ lead into the site."""
    return re.sub(r"\]\(\.\./(RESULTS\.md|results/)", r"](\1", markdown)
