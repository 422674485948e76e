"""Find what a setting names: a built-in by its name, or anything by `module:attribute`.

Encoders, decoders, change detectors, domains, loss terms and metrics are chosen this way, so that
code outside of the package is reached from the command line as the package's own is.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar

from vase.errors import ConfigError, reason

T = TypeVar("T")


def resolve(name: str, known: Mapping[str, T], what: str, missing: Callable[[Any], str]) -> T:
    """Return the object that a setting names; a `ConfigError` says what is wrong with the name.

    known: the built-in ones by name. what: what is sought, such as "change detector".
    missing: what an object lacks to be one, in words; empty if it is one.
    """
    if name in known:
        return known[name]
    module_name, colon, attribute = name.partition(":")
    if not (colon and module_name and attribute):
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        choice = f"Choose {', '.join(known)}, or name one of your own" if known else "Name it"
        raise ConfigError(
            f"There is no {what} called '{name}'.{hint} {choice} as module:attribute."
        )
    found = _attribute(name, module_name, attribute, what)
    lacks = missing(found)
    if lacks:
        article = "an" if what[0] in "aeiou" else "a"
        raise ConfigError(f"'{name}' is not {article} {what}: {lacks}.")
    result: T = found
    return result


def _attribute(name: str, module_name: str, attribute: str, what: str) -> Any:
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"The {what} '{name}' cannot be imported: there is no module '{error.name}'. Run from "
            "the folder that holds it, or install it."
        ) from None
    except Exception as error:
        raise ConfigError(
            f"The {what} '{name}' cannot be imported: module '{module_name}' fails with "
            f"{type(error).__name__}: {reason(error)}."
        ) from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise ConfigError(
                f"The {what} '{name}' does not exist: module '{module_name}' has no '{attribute}'."
            )
        found = getattr(found, part)
    return found


def lacks_call(candidate: Any) -> str:
    """What a candidate lacks to be called."""
    return "" if callable(candidate) else "it cannot be called"


def lacks_methods(*names: str) -> Callable[[Any], str]:
    """A check that a class has methods of these names."""

    def missing(candidate: Any) -> str:
        if not callable(candidate):
            return "it cannot be called"
        if isinstance(candidate, type):
            absent = [name for name in names if not hasattr(candidate, name)]
            if absent:
                return f"it has no {' and no '.join(absent)}"
        return ""

    return missing
