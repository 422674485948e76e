"""Plausible bugs, put in one at a time: which of them does no test notice?

    make mutation                                # all groups; what was done is not done again
    python benchmarks/mutation.py --groups objective detection

A group is a part of the code and the tests that are of it: a bug that only a test of some other
part notices is noticed late, and by accident. Each group has a folder in build/mutation, where
mutmut writes the mutants and runs, for each, those tests of the group that reach it. A mutant is
killed if a test fails, if it never ends, or if mypy refuses it (as `make test` does). Survivors are
run again when the tests of their group have changed.

Those that no test could notice are named, with the reason, in results/mutation-equivalent.json: by
function and changed line, so that they stay known when others come before them. A change in the
wording of a message counts as one of them. results/mutation.json has the counts and every survivor.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

HOME = Path(__file__).parents[1]
WORK = HOME / "build" / "mutation"
RAW, EQUIVALENT = (HOME / "results" / f"mutation{end}.json" for end in ("", "-equivalent"))
KILLED = ("killed", "timeout", "segfault")
LITERAL = re.compile(r"""f?("[^"]*"|'[^']*')""")


class Group(NamedTuple):
    """A part of the code, the tests that are of it, and which of those take too long."""

    code: tuple[str, ...]
    tests: tuple[str, ...]
    but: str = ""  # in the language of `pytest -k`: tests of seconds are no unit tests
    all_of: str = ""  # what no share is taken of: every mutant is tried


GROUPS = {
    "objective": Group(("objective/*",), ("objective",), all_of="*"),
    "detection": Group(
        ("detection/*",),
        ("naive_detector", "features", "blocks", "rules"),
        but="run_length",
        all_of="*",
    ),
    "metrics": Group(("metrics/*",), ("metrics",)),
    "nets": Group(("nets/*",), ("architecture", "window", "vectors")),
    "loss": Group(("lifelong/loss.py",), ("loss",), all_of="*"),
    "lifelong": Group(
        ("lifelong/[!l]*", "lifelong/learner*"),
        (
            *("ambiguity", "environments", "learner", "naive", "replay", "rules", "transaction"),
            *("translation", "working_memory"),
        ),
        but="recognised_and_stays or random_decisions or probation or without_inference "
        "or never_repeats or reader or what_it_loses or mixed_precision",
    ),
    "records": Group(
        ("training/checkpoint.py", "training/recorder.py"), ("checkpoint", "recorder")
    ),
}


def mutmut(group: str, *arguments: str) -> str:
    """What mutmut says in the folder of a group."""
    command = [sys.executable, "-m", "mutmut", *arguments]
    return subprocess.run(
        command, cwd=WORK / group, check=False, capture_output=True, text=True
    ).stdout


def lay_out(name: str) -> bool:
    """Copy what a group needs into its folder. True if its tests have changed."""
    group, folder = GROUPS[name], WORK / name
    tests = [f"tests/test_{each}.py" for each in group.tests]
    options = ["-m", "not slow", *(["-k", f"not ({group.but})"] if group.but else [])]
    settings = {
        "source_paths": ["src/"],
        "only_mutate": [f"src/vase/{each}" for each in group.code],
        "pytest_add_cli_args_test_selection": tests,
        "pytest_add_cli_args": options,
        "also_copy": ["tests/", "benchmarks/", "results/", "README.md", "pyproject.toml"],
        # PyTorch starts threads, which do not survive a fork.
        "process_isolation": "forkserver",
        "use_git_change_detection": False,
        "timeout_multiplier": 5.0,
        "timeout_constant": 5.0,
    }
    config = (HOME / "pyproject.toml").read_text(encoding="utf-8")
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    before = {each: (folder / each).read_bytes() for each in tests if (folder / each).is_file()}
    for part in ("src", "tests", "benchmarks", "results"):
        shutil.rmtree(folder / part, ignore_errors=True)
        shutil.copytree(
            HOME / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "*.png")
        )
    shutil.copy(HOME / "README.md", folder)
    (folder / "pyproject.toml").write_text(f"{config}\n[tool.mutmut]\n{lines}", encoding="utf-8")
    return any(before.get(each) != (folder / each).read_bytes() for each in before)


def outcomes(group: str) -> dict[str, str]:
    """What became of each mutant of a group that was tried, by its name."""
    lines = (
        line.strip().rpartition(": ")
        for line in mutmut(group, "results", "--all", "true").split("\n")
    )
    return {name: status for name, _, status in lines if "__mutmut_" in name}


def place(name: str) -> tuple[str, str]:
    """The module that a mutant is of, and the function, with its class, as mutmut writes it."""
    module, _, inside = name.partition("__mutmut_")[0].rpartition(".")
    return module, inside


def function(name: str) -> str:
    """The function that a mutant is of: `vase.objective.moments.pool`, or with its class."""
    module, inside = place(name)
    return f"{module}.{inside.removeprefix('x_').removeprefix('xǁ').replace('ǁ', '.')}"


def change(group: str, name: str) -> str:
    """What a mutant changes: the lines that go and the lines that come."""
    lines = mutmut(group, "show", name).split("\n")
    changed = [line for line in lines if line[:1] in "+-" and line[:3] not in ("+++", "---")]
    return "\n".join(line[0] + " ".join(line[1:].split()) for line in changed if line)


def ill_typed(group: str, name: str) -> bool:
    """Whether mypy refuses a mutant, as `make test` would."""
    folder = WORK / group
    mutated = folder / "src" / Path(*place(name)[0].split("."))
    mutated = mutated / "__init__.py" if mutated.is_dir() else mutated.with_suffix(".py")
    before = mutated.read_bytes()
    mutmut(group, "apply", name)
    try:
        command = [sys.executable, "-m", "mypy", str(mutated)]
        return subprocess.run(command, cwd=folder, check=False, capture_output=True).returncode == 1
    finally:
        mutated.write_bytes(before)


def words_only(change: str) -> bool:
    """Whether a change is one of words: in a literal of several words, which only people read."""
    gone, come = (
        [line[1:] for line in change.split("\n") if line.startswith(sign)] for sign in "-+"
    )
    same = [LITERAL.sub("", line) for line in gone] == [LITERAL.sub("", line) for line in come]
    differ = [
        one
        for before, after in zip(gone, come, strict=False)
        for one, other in zip(LITERAL.findall(before), LITERAL.findall(after), strict=False)
        if one != other
    ]
    return same and bool(differ) and all(" " in each.strip("\"'") for each in differ)


def summary(groups: list[str], equivalent: list[dict[str, str]]) -> dict[str, Any]:
    """The counts of every module, and the mutants that survive."""
    known = {(each["function"], each["change"]) for each in equivalent}
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for group in groups:
        for name, status in sorted(outcomes(group).items()):
            count = counts[place(name)[0]]
            if status in ("not checked", "check was interrupted by user"):
                count["untried"] += 1
                continue
            count["mutants"] += 1
            if status in KILLED:
                count["killed"] += 1
                continue
            this = {"function": function(name), "change": change(group, name)}
            if (this["function"], this["change"]) in known:
                count["equivalent"] += 1
            elif words_only(this["change"]):
                count["words"] += 1
            elif ill_typed(group, name):
                count["killed"] += 1
            else:
                survivors.append({**this, "status": status, "mutant": name})
    return {"modules": {key: dict(count) for key, count in counts.items()}, "survivors": survivors}


def chosen(name: str, share: int, group: Group) -> bool:
    """Whether a mutant is in the share, in percent: by its name, so that a larger share has it."""
    return fnmatch(name, group.all_of) or zlib.crc32(name.encode()) % 100 < share


def tried(name: str, jobs: str, share: int, only: list[str]) -> None:
    """Run what has not been run yet, and what survived tests that have changed since."""
    changed, group = lay_out(name), GROUPS[name]
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", jobs]
    # No mutant is called "none": it makes them, times the tests, and complains that it finds none.
    subprocess.run([*command, "none"], cwd=WORK / name, check=False, capture_output=True)
    found = outcomes(name)
    again = ("survived", "no tests") if changed else ()
    names = [
        each
        for each, status in found.items()
        if status in again or (status == "not checked" and chosen(each, share, group))
    ]
    if only or names:
        subprocess.run([*command, *(only or names)], cwd=WORK / name, check=False)


def main() -> None:
    """Run what has not been run yet, and write down what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", nargs="*", default=list(GROUPS), choices=list(GROUPS))
    parser.add_argument("--only", nargs="*", default=[], help="names of mutants, with wildcards")
    parser.add_argument("--jobs", default="2", help="processes")
    parser.add_argument("--share", type=int, default=100, help="of the mutants, in percent")
    parser.add_argument("--no-run", action="store_true", help="only sum up what was run")
    given = parser.parse_args()
    for group in given.groups if not given.no_run else []:
        tried(group, given.jobs, given.share, given.only)
    equivalent = json.loads(EQUIVALENT.read_text(encoding="utf-8"))
    done = [group for group in GROUPS if (WORK / group / "mutants").is_dir()]
    record = summary(done, equivalent)
    RAW.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for module, count in record["modules"].items():
        held = count.get("mutants", 0) - count.get("equivalent", 0) - count.get("words", 0)
        print(f"{module:45} {count.get('killed', 0)} of {held}")
    for each in record["survivors"]:
        print(f"\n{each['mutant']}: {each['status']}\n{each['change']}")


if __name__ == "__main__":
    main()
