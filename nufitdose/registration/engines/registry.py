"""The engines by name: to add one, write a module beside this one and name its `Engine` here."""

from nufitdose.registration.engines.ants import ANTS
from nufitdose.registration.engines.deformable import NETWORK, NUFIT, REFINE
from nufitdose.registration.engines.elastix import ELASTIX, ELASTIX_TUNED
from nufitdose.registration.engines.engine import Engine
from nufitdose.registration.engines.greedy import GREEDY, GREEDY_BOTH
from nufitdose.registration.engines.poses import AFFINE, NONE, RIGID
from nufitdose.registry import find_by_name

_OWN = (NONE, RIGID, AFFINE, REFINE, NETWORK, NUFIT)
#: Other programs, to compare with.
PEERS = (ELASTIX, ELASTIX_TUNED, GREEDY, GREEDY_BOTH, ANTS)
ENGINES: dict[str, Engine] = {engine.name: engine for engine in (*_OWN, *PEERS)}


def find_engine(name: str) -> Engine:
    """One of `ENGINES`; raises `InputError` on an unknown name."""
    return find_by_name("registration engine", name, ENGINES)
