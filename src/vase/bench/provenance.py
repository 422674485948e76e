"""Which code produced a figure: a hash of the code, independent of its documentation.

Two figures may be in one table only if their hashes agree. The hash covers the syntax trees of the
modules that train and probe a run, and of all modules that these import, without docstrings and
comments: rewording changes nothing, any changed constant changes the hash.
"""

from __future__ import annotations

import ast
import hashlib
import platform
from collections.abc import Iterator
from functools import cache
from importlib import resources
from pathlib import Path

import torch

from vase.config import Config, to_toml
from vase.version import __version__

ROOTS = ("vase.build", "vase.probes.evaluate", "vase.training.loop", "vase.training.recorder")
APART = frozenset({"vase", "vase.config"})  # the configuration is hashed by its values


@cache
def code() -> str:
    """Return the hash of the code that produces figures here, 16 hexadecimal digits.

    A process has one, that of the first call: what is changed later is not what it runs.
    """
    return code_in(Path(str(resources.files("vase"))))


def code_in(home: Path) -> str:
    """Return the hash of the code in the folder of a package."""
    digest = hashlib.sha256()
    for name, source in sorted(modules(home).items()):
        digest.update(f"{name}\n{meaning(source)}\n".encode())
    return digest.hexdigest()[:16]


def modules(home: Path) -> dict[str, str]:
    """Return the source of `ROOTS` and of every package module that they import, by name."""
    found: dict[str, str] = {}
    waiting = list(ROOTS)
    while waiting:
        name = waiting.pop()
        path = _file(home, name)
        if name in found or name in APART or path is None:
            continue
        found[name] = path.read_text(encoding="utf-8")
        waiting += _imported(ast.parse(found[name]))
    return found


def versions() -> dict[str, str]:
    """Return the versions of this package, of PyTorch and of Python."""
    return {
        "vase": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a module may import: `from a import b` names a and a.b."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (module, *(f"{module}.{alias.name}" for alias in names))


def _file(home: Path, name: str) -> Path | None:
    """Return the file of a module of the package; None for other modules."""
    package, *parts = name.split(".")
    if package != "vase":
        return None
    path = home.joinpath(*parts)
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def key(settings: Config, code_hash: str) -> str:
    """Return the hash of a run: its code and its configuration, without descriptions."""
    text = to_toml(settings.model_copy(update={"description": "", "cost": ""}))
    return hashlib.sha256(f"{code_hash}\n{text}".encode()).hexdigest()[:16]


def meaning(source: str) -> str:
    """Return the syntax tree of a source text, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        match node:
            case (
                ast.Module(body=[ast.Expr(value=ast.Constant(value=str())), *_])
                | ast.ClassDef(body=[ast.Expr(value=ast.Constant(value=str())), *_])
                | ast.FunctionDef(body=[ast.Expr(value=ast.Constant(value=str())), *_])
            ):
                node.body = node.body[1:]
    return ast.dump(tree)
