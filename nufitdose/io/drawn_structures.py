"""Named regions on a grid, and how they become `Structures`: names, roles, layers."""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.contours import Box
from nufitdose.printable import one_line
from nufitdose.study import Structures
from nufitdose.types import Mask
from nufitdose.volume import Quantity, Volume

_log = logging.getLogger(__name__)
_LONGEST_NAME = 200  # characters
_MOST_LAYERS = 32  # label maps of whole images
_TUMOUR = re.compile(r"lesion|tumou?r|gtv|metasta|(?<![a-z])mets?(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class DrawnStructure:
    """A structure on the part `box` of a grid; `tumour` where the file codes it as one, whatever its name."""

    name: str
    mask: Mask
    box: Box
    tumour: bool = False


def looks_like_tumour(name: str) -> bool:
    """Whether a name says lesion, tumour (tumor), GTV, metastasis or met.

    The rule decides the first proposal only: `structures: tumours:` in study.yaml has the last word.
    """
    return _TUMOUR.search(name) is not None


def readable_name(text: str, otherwise: str) -> str:
    """The text on one line without control characters, not too long, or `otherwise` where nothing is left."""
    return one_line(text, most=_LONGEST_NAME) or otherwise


def layered(regions: Sequence[DrawnStructure], grid: Grid) -> Structures:
    """Label maps of the regions, in as few layers as overlaps allow; names made unique, tumours by code or name."""
    kind = np.uint8 if len(regions) < 256 else np.uint16
    layers: list[np.ndarray] = []
    for label, region in enumerate(regions, start=1):
        for layer in layers:
            if not layer[region.box][region.mask].any():
                break
        else:
            if len(layers) >= _MOST_LAYERS:
                raise InputError(
                    f"more than {_MOST_LAYERS} structures overlap in one place",
                    remedy="Export the structure set with the structures that matter",
                )
            layer = np.zeros(grid.shape, dtype=kind)
            layers.append(layer)
        layer[region.box][region.mask] = label
    coded = {label for label, region in enumerate(regions, start=1) if region.tumour}
    names = dict(enumerate(unique_names([region.name for region in regions]), start=1))
    tumours = frozenset(name for label, name in names.items() if label in coded or looks_like_tumour(name))
    if tumours:
        _log.info("taken as tumours by code or name: %s; study.yaml can change that", ", ".join(sorted(tumours)))
    return Structures(tuple(Volume(layer, grid, Quantity.LABELS) for layer in layers), names, tumours)


def unique_names(names: Sequence[str]) -> list[str]:
    """The names in order, later ones of a name numbered, with a warning: 'Liver', 'Liver (2)'."""
    taken, given = set(names), dict[str, None]()
    last: dict[str, int] = {}
    for name in names:
        new = name
        while new in given or (new != name and new in taken):
            last[name] = last.get(name, 1) + 1
            new = f"{name} ({last[name]})"
        if new != name:
            _log.warning("two structures are named %r: the later one is called %r", name, new)
        given[new] = None
    return list(given)
