"""Rules of the house, read off the source: who imports whom, sizes, and what is never used.

Each check is a function from source text to a list of sentences, one for each violation. Every
check is run over src/vase, and over a small bad source that it must complain about.
"""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vase"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400

# Which rooms (packages or modules right below src/vase) a room may import, itself aside.
BASE = frozenset({"errors", "records", "settings", "isolation", "arguments", "memory_limit"})
LEARNER = BASE | {"registry", "objective", "nets", "detection", "lifelong"}
RUN = LEARNER | {"images", "domains", "training", "config"}
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "records": frozenset({"errors"}),
    "settings": frozenset(),
    "registry": frozenset({"errors"}),
    "arguments": frozenset({"errors"}),
    "feature_names": frozenset({"errors"}),
    "isolation": frozenset(),
    "memory_limit": frozenset({"errors"}),
    "images": frozenset({"errors", "memory_limit"}),
    "objective": BASE,
    "nets": BASE | {"registry"},
    "detection": BASE | {"registry", "nets", "objective"},
    "domains": BASE | {"images"},
    "metrics": BASE | {"registry"},
    "lifelong": BASE | {"registry", "objective", "nets", "detection"},
    "training": LEARNER | {"domains"},
    "config": frozenset({"errors", "settings"}),
    "consent": RUN,
    "build": RUN,
    "probes": RUN | {"build", "metrics"},
    "agent": RUN | {"build", "metrics", "probes"},
    "bench": RUN | {"build", "metrics", "probes", "report", "agent"},
    "report": RUN | {"build", "metrics", "probes"},
    "explorer": RUN | {"build", "probes", "report"},
    "integrity": RUN | {"consent"},
    "export": LEARNER | {"training"},
    "hub": LEARNER,
    "persistence": RUN | {"build", "consent"},
    "estimator": RUN | {"build", "export", "hub", "feature_names", "persistence"},
    "cli": RUN
    | {
        "build",
        "metrics",
        "probes",
        "agent",
        "bench",
        "report",
        "estimator",
        "export",
        "explorer",
        "consent",
        "integrity",
    },
    # The package's own front: __init__.py offers names, __main__.py starts the command line.
    "__init__": RUN | {"build", "metrics", "probes", "report", "estimator"},
    "__main__": frozenset({"cli"}),
}
# What any room may take from `vase` itself; every other name is imported from its room.
PACKAGE_NAMES = frozenset({"__version__"})

PICKLING_MODULES = frozenset({"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"})
BANNED_MODULES = PICKLING_MODULES | {"torchvision"}
BANNED_TORCH_NAMES = frozenset({"load", "save", "serialization"})
BANNED_FILE_NAMES = ("utils*", "helpers*", "*manager*")


# --- who imports whom -----------------------------------------------------------------------


def room_of(module: str) -> str:
    """`vase.nets.encoder` -> `nets`; `vase` -> `__init__`."""
    return module.split(".")[1] if "." in module else "__init__"


def module_name(path: Path, root: Path = SOURCE) -> str:
    """The dotted name of a file; a package keeps its `__init__` so that dots resolve alike."""
    return ".".join(("vase", *path.relative_to(root).with_suffix("").parts))


def absolute_base(node: ast.ImportFrom, module: str) -> str:
    """The module that `from X import ...` names, with leading dots resolved."""
    parent = module.split(".")[: -node.level] if node.level else []
    return ".".join([*parent, *([node.module] if node.module else [])])


def imported_modules(tree: ast.AST, module: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of every import, late ones and `import_module("...")` included."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from ((node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(names=names):
                base = absolute_base(node, module)
                yield from ((node.lineno, f"{base}.{alias.name}") for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__")
                | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield node.lineno, name


def import_violations(source: str, module: str) -> list[str]:
    room = room_of(module)
    if room not in MAY_IMPORT:
        return [
            f"{module}: room '{room}' is not in the table MAY_IMPORT of tests/test_house.py; "
            "add it there with the rooms above it that it may import."
        ]
    allowed = MAY_IMPORT[room] | {room}
    found = []
    for line, name in imported_modules(ast.parse(source), module):
        head, _, rest = name.partition(".")
        target = rest.partition(".")[0]
        if head != "vase" or target in allowed or target in PACKAGE_NAMES:
            continue
        if target in MAY_IMPORT:
            why = f"room '{room}' must not import room '{target}', which is not above it"
        else:
            why = f"'{name}' names no room of the table; import the thing from its own room"
        found.append(f"{module}, line {line}: {why}.")
    return found


# --- what is never used -----------------------------------------------------------------------


def torch_aliases(tree: ast.AST) -> set[str]:
    """The names under which a file knows torch itself."""
    return {
        alias.asname or "torch"
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "torch" or (alias.name.startswith("torch.") and not alias.asname)
    }


def is_torch_or_fabric(owner: ast.expr, torches: set[str]) -> bool:
    """Whether an object is torch, or by its name a Fabric, whose load and save pickle too."""
    match owner:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return (isinstance(owner, ast.Name) and name in torches) or name.endswith("fabric")
    return False


def banned_uses(source: str, module: str) -> list[str]:
    tree = ast.parse(source)
    torches = torch_aliases(tree)
    found = []
    for line, name in imported_modules(tree, module):
        if name.split(".")[0] in BANNED_MODULES:
            found.append(f"{module}, line {line}: import of {name.split('.')[0]}.")
        if any(f"{name}.".startswith(f"torch.{banned}.") for banned in BANNED_TORCH_NAMES):
            found.append(f"{module}, line {line}: import of {name}; use safetensors.")
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=owner, attr=attr):
                if attr in BANNED_TORCH_NAMES and is_torch_or_fabric(owner, torches):
                    place = f"{module}, line {node.lineno}"
                    found.append(f"{place}: {ast.unparse(node)} pickles; use safetensors.")
            case ast.keyword(arg="allow_pickle", value=value):
                if not (isinstance(value, ast.Constant) and value.value is False):
                    found.append(f"{module}, line {node.lineno}: allow_pickle must be False.")
    return found


def path_violations(paths: list[Path]) -> list[str]:
    return [
        f"{path}: the part '{part}' says nothing; name it by what it is about."
        for path in paths
        for part in path.parts
        if any(Path(part).match(pattern) for pattern in BANNED_FILE_NAMES)
    ]


# --- sizes ------------------------------------------------------------------------------------


def size_violations(source: str, module: str) -> list[str]:
    found = []
    lines = len(source.splitlines())
    if lines > MAX_FILE_LINES:
        found.append(f"{module}: {lines} lines, more than {MAX_FILE_LINES}; divide it.")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                found.append(
                    f"{module}, line {node.lineno}: {node.name} has {length} lines, "
                    f"more than {MAX_FUNCTION_LINES}; divide it."
                )
    return found


# --- forward changes nothing ------------------------------------------------------------------


def is_rooted_in_self(node: ast.AST) -> bool:
    """True for self.a, self.a.b, self.a[0], self.a[0].b: anything that hangs on self."""
    if not isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        return False
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Starred):
        node = node.value
    return isinstance(node, ast.Name) and node.id == "self"


def changes_self(node: ast.expr) -> bool:
    match node:
        case (
            ast.Attribute(ctx=ast.Store() | ast.Del()) | ast.Subscript(ctx=ast.Store() | ast.Del())
        ):
            return is_rooted_in_self(node)
        case (
            ast.Call(func=ast.Name(id="setattr" | "delattr"), args=[ast.Name(id="self"), *_])
            | ast.Call(func=ast.Attribute(attr="__setattr__"), args=[ast.Name(id="self"), *_])
        ):
            return True
        case ast.Call(func=ast.Attribute(value=owner, attr=attr)):
            # torch's in-place methods end in one underscore: self.count.add_(1)
            in_place = attr.endswith("_") and not attr.endswith("__")
            return (in_place and is_rooted_in_self(owner)) or attr == "register_buffer"
    return False


def forward_violations(source: str, module: str) -> list[str]:
    return [
        f"{module}, line {node.lineno}: forward changes self; return the value instead."
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef) and function.name == "forward"
        for node in ast.walk(function)
        if isinstance(node, ast.expr) and changes_self(node)
    ]


# --- the checks over src/vase -----------------------------------------------------------------

Check = Callable[[str, str], list[str]]
CHECKS: list[Check] = [import_violations, banned_uses, size_violations, forward_violations]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_source_obeys(check: Check) -> None:
    assert FILES, f"no source below {SOURCE}"
    found = [
        sentence
        for path in FILES
        for sentence in check(path.read_text(encoding="utf-8"), module_name(path))
    ]
    assert not found, "\n" + "\n".join(found)


def test_file_names_say_what_is_inside() -> None:
    found = path_violations([path.relative_to(SOURCE) for path in FILES])
    assert not found, "\n" + "\n".join(found)


def test_the_table_of_rooms_has_no_cycle() -> None:
    done: set[str] = set()
    while ready := {room for room, above in MAY_IMPORT.items() if above <= done} - done:
        done |= ready
    assert done == set(MAY_IMPORT)


# --- each check can fail ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "source", "sentence"),
    [
        ("vase.nets.encoder", "from vase.objective import kl", "must not import room 'objective'"),
        ("vase.nets.encoder", "from vase import objective", "must not import room 'objective'"),
        ("vase.nets.encoder", "from ..objective import kl", "must not import room 'objective'"),
        ("vase.nets.__init__", "from .. import objective", "must not import room 'objective'"),
        ("vase.records", "from . import nets", "must not import room 'nets'"),
        ("vase.errors", "import vase.records", "must not import room 'records'"),
        ("vase.config", "def f():\n    from vase.build import learner", "line 2: room 'config'"),
        ("vase.config", "import importlib as i\ni.import_module('vase.nets')", "line 2"),
        ("vase.probes.readout", "from vase.report import page", "must not import room 'report'"),
        ("vase.estimator", "from vase.cli import main", "must not import room 'cli'"),
        ("vase.nets.encoder", "import vase", "names no room"),
        ("vase.nets.encoder", "from vase import Encoder", "names no room"),
        ("vase.nets.encoder", "from vase.bits import x", "names no room"),
        ("vase.bits.pieces", "", "room 'bits' is not in the table"),
        ("vase.bits", "import os", "room 'bits' is not in the table"),
    ],
)
def test_import_check_can_fail(module: str, source: str, sentence: str) -> None:
    (found,) = import_violations(source, module)
    assert sentence in found


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("vase.nets.encoder", "import torch\nfrom vase.records import Posterior"),
        ("vase.nets.__init__", "from .encoder import Encoder\nfrom ..errors import InputError"),
        ("vase.cli.main", "from vase import __version__, report"),
        ("vase.__main__", "from vase.cli import main"),
        ("vase.probes.readout", "import vaseline.cli"),
    ],
)
def test_import_check_lets_good_imports_pass(module: str, source: str) -> None:
    assert import_violations(source, module) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, pickle as p",
        "from cloudpickle import dumps",
        "import torchvision.transforms",
        "def f():\n    from torchvision import ops",
        "import importlib\nimportlib.import_module('torchvision')",
        "from torch import save",
        "from torch.serialization import load",
        "import torch\ntorch.serialization.load('x')",
        "class Loop:\n    def f(self):\n        self._fabric.save('x', {})",
        "import torch\ntorch.load('x')",
        "import torch as t\nkeep = t.save",
        "import torch.nn\ntorch.save(1, 'x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ],
)
def test_banned_uses_check_can_fail(source: str) -> None:
    assert len(banned_uses(source, "vase.nets")) == 1


def test_banned_uses_check_lets_good_code_pass() -> None:
    source = (
        "import numpy as np, torch\nfrom safetensors.torch import load_file, save\n"
        "np.load('x', allow_pickle=False)\nnet.load_state_dict({})\nsave({})\n"
    )
    assert banned_uses(source, "vase.nets") == []


@pytest.mark.parametrize("name", ["utils.py", "nets/utils_io.py", "helpers/x.py", "run_manager.py"])
def test_path_check_can_fail(name: str) -> None:
    assert len(path_violations([Path(name)])) == 1


def test_size_check_can_fail() -> None:
    body = "    x = 1\n"
    assert size_violations("def f():\n" + body * (MAX_FUNCTION_LINES - 1), "vase.nets") == []
    (long_function,) = size_violations("def f():\n" + body * MAX_FUNCTION_LINES, "vase.nets")
    assert "f has 61 lines" in long_function
    assert size_violations("x = 1\n" * MAX_FILE_LINES, "vase.nets") == []
    (long_file,) = size_violations("x = 1\n" * (MAX_FILE_LINES + 1), "vase.nets")
    assert "401 lines" in long_file


@pytest.mark.parametrize(
    "statement",
    [
        "self.last = x",
        "self.steps += 1",
        "self.last: int = x",
        "self.environments[0] = x",
        "self.environments.last = x",
        "y, self.last = x",
        "*self.all, y = x",
        "for self.i in x: pass",
        "with x as self.f: pass",
        "if x:\n            del self.last",
        "setattr(self, 'last', x)",
        "object.__setattr__(self, 'last', x)",
        "self.count.add_(1)",
        "self.register_buffer('last', x)",
    ],
)
def test_forward_check_can_fail(statement: str) -> None:
    source = f"class Net:\n    def forward(self, x):\n        {statement}\n"
    assert len(forward_violations(source, "vase.nets")) == 1


def test_forward_check_lets_good_code_pass() -> None:
    source = (
        "class Net:\n    def __init__(self):\n        self.a = 1\n"
        "    def forward(self, x):\n        h = self.a[0](x)\n        h[0] = self.b.c\n"
        "        return h.relu_(), self.__len__()\n"
    )
    assert forward_violations(source, "vase.nets") == []


# --- a light start ----------------------------------------------------------------------------

# Runs the code, whatever way it ends, then prints on its last line the modules that are loaded.
PROBE = """
import json, sys
try:
    {code}
except SystemExit as end:
    if end.code:
        raise
finally:
    print()
    print(json.dumps(sorted(sys.modules)))
"""


def modules_loaded_by(code: str) -> set[str]:
    """The modules that a fresh Python has loaded once it has run one line of code."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(code=code)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import vase",
        "sys.argv = ['vase', '--help']; import vase.cli; vase.cli.main()",
    ],
)
def test_starts_without_torch(code: str) -> None:
    loaded = modules_loaded_by(code)
    assert "vase" in loaded
    assert "torch" not in loaded


def test_loaded_modules_are_seen() -> None:
    assert "sqlite3" in modules_loaded_by("import sqlite3; sys.exit(0)")
    with pytest.raises(AssertionError):
        modules_loaded_by("sys.exit(3)")


# --- what the tests are installed from -------------------------------------------------------


def pins(file: str) -> dict[str, str]:
    """The versions that a file of requirements holds packages to."""
    lines = (SOURCE.parents[1] / file).read_text().splitlines()
    held = [line.split(";")[0].rstrip("\\ ").split("==") for line in lines if "==" in line]
    return {name.strip().lower(): version.strip() for name, version in held if name[0] != "#"}


def test_the_lock_holds_what_the_constraints_hold() -> None:
    """`make lock` writes it anew."""
    constrained, locked = pins("constraints.txt"), {}
    for lock in ("torch", "dev", "fuzz"):
        locked |= pins(f"locks/{lock}.txt")
    assert {name: locked.get(name) for name in constrained} == constrained
