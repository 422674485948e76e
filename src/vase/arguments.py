"""Arguments, checked at the door."""

from __future__ import annotations

from operator import index

from vase.errors import InputError


def whole_number(value: object, name: str, *, least: int = 0) -> int:
    """`value` as an int, if it is a whole number of at least `least`; else an `InputError`.

    NumPy's integers are whole numbers; True, 2.0 and "2" are not.
    """
    try:
        found = index(value)  # type: ignore[arg-type]
    except TypeError:
        found = None
    if found is None or isinstance(value, bool) or found < least:
        raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    return found
