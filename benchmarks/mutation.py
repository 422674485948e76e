"""Plausible bugs, put in one at a time: which of them does no test notice?

    make mutation                               # all of them; what was done is not done again
    python benchmarks/mutation.py --only "vase.objective*"

mutmut writes the mutants into mutants/ and runs the tests that reach each; what it makes, and from
which files, is in `[tool.mutmut]` of pyproject.toml. A mutant is killed if a test fails, or if it
never ends. Those that no test could notice are named, with the reason, in
results/mutation-equivalent.json: by function and changed line, so that they stay known when others
come before them. results/mutation.json has the counts and every survivor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

HOME = Path(__file__).parents[1]
RAW, EQUIVALENT = (HOME / "results" / f"mutation{end}.json" for end in ("", "-equivalent"))
KILLED = ("killed", "timeout", "segfault", "suspicious")


def mutmut(*arguments: str) -> str:
    """What mutmut says."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(command, cwd=HOME, check=False, capture_output=True, text=True).stdout


def outcomes() -> dict[str, str]:
    """What became of each mutant that was tried, by its name."""
    lines = (
        line.strip().rpartition(": ") for line in mutmut("results", "--all", "true").split("\n")
    )
    return {name: status for name, _, status in lines if "__mutmut_" in name}


def function(name: str) -> str:
    """The function that a mutant is of: `vase.objective.moments.pool`, or with its class."""
    module, _, inside = name.partition("__mutmut_")[0].rpartition(".")
    return f"{module}.{inside.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"


def change(name: str) -> str:
    """What a mutant changes: the lines that go and the lines that come."""
    lines = mutmut("show", name).split("\n")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return "\n".join(line[0] + " ".join(line[1:].split()) for line in changed if line)


def summary(found: dict[str, str], equivalent: list[dict[str, str]]) -> dict[str, Any]:
    """The counts of every module, and the mutants that survive."""
    known = {(each["function"], each["change"]): each["reason"] for each in equivalent}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for name, status in sorted(found.items()):
        module = name.partition("__mutmut_")[0].rpartition(".")[0]
        if status == "not checked":
            counts[module]["untried"] += 1
            continue
        counts[module]["mutants"] += 1
        if status in KILLED:
            counts[module]["killed"] += 1
            continue
        this = {"function": function(name), "change": change(name)}
        if (this["function"], this["change"]) in known:
            counts[module]["equivalent"] += 1
        else:
            survivors.append({**this, "status": status})
    return {"modules": {key: dict(count) for key, count in counts.items()}, "survivors": survivors}


def main() -> None:
    """Run what has not been run yet, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="names of mutants, with wildcards")
    parser.add_argument("--jobs", default="2", help="processes")
    parser.add_argument("--no-run", action="store_true", help="only sum up what was run")
    given = parser.parse_args()
    if not given.no_run:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", given.jobs]
        subprocess.run([*command, *given.only], cwd=HOME, check=False)
    equivalent = json.loads(EQUIVALENT.read_text(encoding="utf-8"))
    record = summary(outcomes(), equivalent)
    RAW.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for module, count in record["modules"].items():
        held = count.get("mutants", 0) - count.get("equivalent", 0)
        print(f"{module:45} {count.get('killed', 0)} of {held}")
    for each in record["survivors"]:
        print(f"\n{each['function']}\n{each['change']}")


if __name__ == "__main__":
    main()
