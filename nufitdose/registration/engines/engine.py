"""What an engine is: a name, one function, its settings, what it needs, and its words in reports."""

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import torch

from nufitdose.config import Settings, build
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.progress import OnProgress
from nufitdose.registration.engines.linear import Basis, basis_of
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.network import NufitReg
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.study import TimePoint


class Need(StrEnum):
    """What an engine cannot do without, beside two scans with activity."""

    WEIGHTS = "weights of the network"
    CTS = "a CT on both scans"
    ELASTIX = "the package itk-elastix"
    GREEDY = "the package picsl-greedy"
    ANTS = "the package antspyx"


#: The modules of the packages that peers need: a need, and what must be importable for it.
MODULES = {Need.ELASTIX: ("itk",), Need.GREEDY: ("picsl_greedy", "SimpleITK"), Need.ANTS: ("ants",)}


@dataclass(frozen=True, eq=False)
class Request:
    """What an engine is asked: the field that brings `moving` onto `fixed`, on `grid`.

    `network` is there for engines that need weights, `settings` are the engine's own (its defaults where None);
    `on_progress` hears the share done, 0 ... 1.
    """

    fixed: TimePoint
    moving: TimePoint
    grid: Grid
    device: torch.device
    objective: ObjectiveSettings = dataclasses.field(default_factory=ObjectiveSettings)
    network: NufitReg | None = None
    settings: Settings | None = None
    on_progress: OnProgress = lambda share: None

    @property
    def basis(self) -> Basis:
        """The images that a linear registration compares."""
        return basis_of(self.fixed, self.moving)


@dataclass(frozen=True, eq=False)
class Engine:
    """One way to bring a scan onto another.

    `run` answers a request with the field on the grid of the request. `says` completes "The scans were brought onto
    the reference by ..."; `{bases}` stands for the images that the linear start compares.
    """

    name: str
    run: Callable[[Request], DisplacementField]
    says: str = ""
    settings: Settings | None = None
    needs: frozenset[Need] = frozenset()

    def settings_with(self, options: Mapping[str, Any]) -> Settings | None:
        """The engine's settings with some of them changed; raises `InputError` on what it does not know."""
        if self.settings is None:
            if options:
                raise InputError(f"the engine {self.name!r} has no options, {', '.join(options)} was given")
            return None
        return build(type(self.settings), self.settings.model_dump() | dict(options), where="registration.options")

    def check_installed(self) -> None:
        """Raise `InputError` where a package that the engine needs is not installed."""
        for need in sorted(self.needs & MODULES.keys()):
            if any(importlib.util.find_spec(module) is None for module in MODULES[need]):
                raise InputError(
                    f"the engine {self.name!r} needs {need}, which is not installed",
                    remedy="Run: pip install 'nufitdose[peers]'",
                )

    def check_scans(self, fixed: TimePoint, moving: TimePoint) -> None:
        """Raise `InputError` where the scans lack what the engine needs."""
        missing = [scan.id for scan in (fixed, moving) if scan.ct is None]
        if Need.CTS in self.needs and missing:
            raise InputError(
                f"the engine {self.name!r} needs {Need.CTS}, there is none on {' and '.join(missing)}",
                remedy="Choose an engine that compares activities too, as 'nufit' or 'rigid'",
            )
