"""The engines by name: to add one, write a module beside this one and name its `Engine` here."""

import difflib

from nufitdose.errors import InputError
from nufitdose.registration.engines.deformable import NETWORK, NUFIT, REFINE
from nufitdose.registration.engines.elastix import ELASTIX, ELASTIX_TUNED
from nufitdose.registration.engines.engine import Engine
from nufitdose.registration.engines.poses import AFFINE, NONE, RIGID

ENGINES: dict[str, Engine] = {
    engine.name: engine for engine in (NONE, RIGID, AFFINE, REFINE, NETWORK, NUFIT, ELASTIX, ELASTIX_TUNED)
}


def find_engine(name: str) -> Engine:
    """One of `ENGINES`; raises `InputError` on an unknown name."""
    if name not in ENGINES:
        near = difflib.get_close_matches(name, ENGINES, 1)
        hint = f"Did you mean {near[0]!r}? Known: " if near else "Known: "
        raise InputError(f"registration engine {name!r} is unknown", remedy=hint + ", ".join(ENGINES))
    return ENGINES[name]
