"""Things that are chosen by name: engines, curve methods."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

from nufitdose.errors import InputError

Entry = TypeVar("Entry")


def find_by_name(kind: str, name: str, registry: Mapping[str, Entry]) -> Entry:
    """The entry of that name; raises `InputError` on an unknown one, with the nearest and all known names."""
    if name not in registry:
        near = difflib.get_close_matches(name, registry, 1)
        hint = f"Did you mean {near[0]!r}? Known: " if near else "Known: "
        raise InputError(f"{kind} {name!r} is unknown", remedy=hint + ", ".join(registry))
    return registry[name]
