"""What is installed is locked with hashes, CI takes actions by commit, a release has one number."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import vase

ROOT = Path(__file__).resolve().parents[1]
LOCKS = sorted((ROOT / "locks").glob("*.txt"))


def requirements(lock: str) -> list[str]:
    """The requirements of a lock, each with its hashes on one line."""
    lines = [line for line in lock.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", "").splitlines()


def unlocked(lock: str) -> list[str]:
    pattern = re.compile(r"[\w.-]+==[^ ]+ (; [^#]+ )?( *--hash=sha256:[0-9a-f]{64})+ *")
    return [line for line in requirements(lock) if not pattern.fullmatch(line)]


def moving(workflow: str) -> list[str]:
    """The actions of a workflow that a tag or a branch names."""
    actions = re.findall(r"uses:\s*(\S+)", workflow)
    return [action for action in actions if not re.search(r"@[0-9a-f]{40}$", action)]


def unhashed(makefile: str) -> list[str]:
    """The commands of a Makefile by which pip could take what no lock holds."""
    commands = makefile.replace("\\\n", " ").splitlines()
    installs = [line for line in commands if re.search(r"\bpip\b.*(\$\(QUIET\)|\binstall\b)", line)]
    return [line for line in installs if "$(HASHED)" not in line and "--no-index" not in line]


def test_the_version_is_the_same_wherever_it_is_written() -> None:
    """The package, what pip reads, what is cited, and the newest heading of the changelog."""
    citation, changelog = (
        re.search(pattern, (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
        for name, pattern in (
            ("CITATION.cff", r"^version: (.+)\ndate-released: (.+)$"),
            ("CHANGELOG.md", r"^## \[(\d.*)\] - (.+)$"),
        )
    )
    assert citation
    assert changelog
    assert citation.groups() == changelog.groups()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation.group(1) == project["version"] == vase.__version__


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_has_a_version_and_hashes(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    assert requirements(text)
    assert unlocked(text) == []


def test_no_lock_says_where_it_was_made() -> None:
    assert [lock.name for lock in LOCKS if "://" in lock.read_text(encoding="utf-8")] == []


def test_the_locks_agree_with_each_other_and_with_the_constraints() -> None:
    def pins(name: str) -> set[str]:
        lines = requirements((ROOT / "locks" / name).read_text(encoding="utf-8"))
        return {line.split()[0] for line in lines}

    assert pins("train.txt") <= pins("dev.txt")
    assert not pins("cuda.txt") & pins("dev.txt")
    held = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert {line for line in held if "==" in line and line[0] != "#"} <= (
        pins("torch.txt") | pins("dev.txt") | pins("fuzz.txt")
    )


def test_actions_are_named_by_commit() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
    assert workflows
    assert [moving(path.read_text(encoding="utf-8")) for path in workflows] == [[]] * len(workflows)


def test_make_installs_nothing_without_a_hash() -> None:
    assert unhashed((ROOT / "Makefile").read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("check", "text"),
    [
        (unlocked, "torch==2.13.0"),
        (unlocked, "torch>=2 --hash=sha256:" + "0" * 64),
        (unlocked, "torch @ https://files.example/torch.whl"),
        (unlocked, "--extra-index-url https://files.example"),
        (moving, "- uses: actions/checkout@v5"),
        (moving, "- uses: actions/checkout@main # " + "0" * 40),
        (unhashed, "\t$(BIN)/python -m pip $(QUIET) -c constraints.txt \\\n\t  torch"),
        (unhashed, "\t@pip install uv"),
    ],
)
def test_each_check_can_fail(check: Callable[[str], list[str]], text: str) -> None:
    assert len(check(text)) == 1
