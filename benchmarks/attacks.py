"""What strangers may try, and what came of it: the security tests, counted by kind of attack.

    python benchmarks/attacks.py            # writes results/attacks.json

An attack is one case of a test. It is withstood if the test passes: it was refused in a sentence,
did no harm, or was cut off, as the test says. One that cannot be tried here is left out.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

HOME = Path(__file__).parents[1]
RAW = HOME / "results" / "attacks.json"

# What is tried, and the tests that try it, by the beginning of their names.
KINDS: dict[str, tuple[str, ...]] = {
    "a run with links out of it, pipes or sockets, at nine commands": (
        "test_strangers_runs::test_what_leads_out",
    ),
    "a run that names private images": (
        "test_strangers_runs::test_a_strangers_run_reads_no_private",
        "test_strangers_runs::test_consent_is_asked",
        "test_strangers_runs::test_images_inside",
    ),
    "a run or model that names code": (
        "test_strangers_runs::test_a_strangers_run_runs_no_code",
        "test_strangers_runs::test_code_that_only",
        "test_strangers_runs::test_a_strangers_model",
    ),
    "a run that names a tracker": ("test_strangers_runs::test_a_strangers_run_tells",),
    "forged logs, measurements and memories": (
        "test_strangers_runs::test_a_forged_run",
        "test_strangers_runs::test_a_file_beyond",
    ),
    "settings that exhaust memory or time": (
        "test_strangers_runs::test_settings_that",
        "test_strangers_runs::test_a_thousand",
        "test_strangers_runs::test_large_batches",
    ),
    "archives that unpack to too much": ("test_strangers_runs::test_an_archive",),
    "image files that would start a program": ("test_strangers_runs::test_content_decides",),
    "uploads: many, large, slow, of many pages": (
        "test_explorer_guard::test_what_is_sent",
        "test_explorer_guard::test_pages_are",
        "test_explorer_guard::test_a_tiff",
        "test_explorer_guard::test_sizes",
        "test_explorer_guard::test_a_body_in_chunks",
        "test_explorer_guard::test_images_are_computed",
    ),
    "other hosts, origins and frames": (
        "test_explorer_guard::test_what_host",
        "test_explorer_guard::test_what_page",
        "test_explorer_guard::test_hosts_of",
        "test_explorer_guard::test_origins_of",
        "test_explorer_guard::test_no_host",
        "test_explorer_guard::test_an_empty_host",
        "test_explorer_guard::test_every_response",
    ),
    "visitors without the token": (
        "test_explorer_guard::test_only_who",
        "test_explorer_guard::test_a_guard_without",
    ),
    "connections that are held": (
        "test_explorer_guard::test_who_does_not",
        "test_explorer_guard::test_there_are_only",
    ),
    "packages, archives and mirrors that run code or lie": ("test_fetched::",),
    "installs without a hash, actions by tag": ("test_supply_chain::",),
}
FILES = sorted({name.partition("::")[0] for names in KINDS.values() for name in names})


def outcomes() -> dict[str, bool]:
    """Whether each case that was tried passed, by `file::test[case]`."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        tests = [f"tests/{name}.py" for name in FILES]
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *tests]
        subprocess.run(command, cwd=HOME, check=False)
        cases = ElementTree.parse(report).iter("testcase")
        return {
            f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}": not (
                case.findall("failure") + case.findall("error")
            )
            for case in cases
            if not case.findall("skipped")
        }


def main() -> None:
    """Try everything, and write down what came of it."""
    found, record = outcomes(), []
    for what, tests in KINDS.items():
        count = Counter(passed for name, passed in found.items() if name.startswith(tests))
        record.append({"attack": what, "tried": count.total(), "withstood": count[True]})
        print(f"{what:60} {count[True]} of {count.total()}")
    RAW.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
