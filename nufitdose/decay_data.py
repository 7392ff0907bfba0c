"""Half-lives and decay branches of nuclides, from the package `radioactivedecay`.

The package takes a second or more to import, so what was asked once is kept in the user's cache folder, under the
version of the package. Nothing of it is part of nufitdose (see docs/explanation/decay_data.md).
"""

import contextlib
import hashlib
import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from nufitdose.files import write_whole

_PACKAGE = "radioactivedecay"


@dataclass(frozen=True)
class Decay:
    """Half-life in hours (infinite where stable) and the share of decays to each known daughter."""

    half_life_h: float
    branches: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        if not self.half_life_h > 0 or not all(0.0 <= share <= 1.0 for _, share in self.branches):
            raise ValueError(f"{self} is no decay")


@lru_cache
def known_nuclides() -> frozenset[str]:
    """The names of all nuclides, as 'Lu-177'; imports the package."""
    import radioactivedecay as rd

    return frozenset(str(nuclide) for nuclide in rd.DEFAULTDATA.nuclides)


def find_decay(name: str) -> Decay | None:
    """The decay of a nuclide given as 'Lu-177'; None where it is not known."""
    held = _held()
    if name not in held:
        if name not in known_nuclides():
            return None
        held.update(_read_chain(name))
        _write_cache(held)
    return held[name]


def cache_file() -> Path | None:
    """Where decays are kept; None where the user has no such folder."""
    folder = user_cache_path("nufitdose", appauthor=False)
    return folder / f"decay_{_PACKAGE}_{version(_PACKAGE)}.json" if folder.is_absolute() else None


@lru_cache
def _held() -> dict[str, Decay]:
    """What this process has read so far; begins with the cache."""
    return _read_cache()


def _read_chain(name: str) -> dict[str, Decay]:
    """A nuclide and all that comes of it, from the package."""
    import radioactivedecay as rd

    found: dict[str, Decay] = {}
    waiting = [name]
    while waiting:
        parent = waiting.pop()
        nuclide = rd.Nuclide(parent)
        pairs = zip(nuclide.progeny(), nuclide.branching_fractions(), strict=True)
        branches = tuple((str(to), float(share)) for to, share in pairs if to in known_nuclides())
        found[parent] = Decay(float(nuclide.half_life("h")), branches)
        waiting += [to for to, _ in branches if to not in found]
    return found


def _read_cache() -> dict[str, Decay]:
    """What was kept; nothing where there is no cache or its content is not what was written."""
    path = cache_file()
    if path is None:
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["sha256"] != _digest(content["decays"]):
            return {}
        return {name: _from_json(entry) for name, entry in content["decays"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def _write_cache(held: dict[str, Decay]) -> None:
    """Keep all decays, whole or not at all; a folder that cannot be written is left alone."""
    path = cache_file()
    if path is None:
        return
    decays = {name: _to_json(decay) for name, decay in sorted(held.items())}
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, json.dumps({"sha256": _digest(decays), "decays": decays}, indent=1))


def _to_json(decay: Decay) -> dict[str, Any]:
    stable = math.isinf(decay.half_life_h)
    return {"half_life_h": None if stable else decay.half_life_h, "branches": [list(b) for b in decay.branches]}


def _from_json(entry: dict[str, Any]) -> Decay:
    half_life_h = math.inf if entry["half_life_h"] is None else float(entry["half_life_h"])
    return Decay(half_life_h, tuple((str(to), float(share)) for to, share in entry["branches"]))


def _digest(decays: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(decays, sort_keys=True).encode()).hexdigest()
