"""What is judged: an engine with its options, the network that it runs, or the truth itself."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.truth import read_true_fields
from nufitdose.registration.engines.engine import Request
from nufitdose.registration.engines.registry import find_engine
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.network import TrainedNetwork
from nufitdose.registration.scan_to_scan import load_network_for
from nufitdose.study import TimePoint

EXACT = "exact"  # the true field: what is left is noise and blur of the scanner


@dataclass(frozen=True)
class Method:
    """An engine by name, or `exact`, with the weights of its network (None: the shipped ones) and its options."""

    name: str
    engine: str
    weights: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def load_network(self) -> TrainedNetwork | None:
        """The network that the engine runs. Raises `InputError` where engine, package or weights are missing."""
        if self.engine == EXACT:
            return None
        engine = find_engine(self.engine)
        engine.check_installed()
        engine.settings_with(self.options)
        return load_network_for(engine, self.weights)

    def find_field(
        self,
        folder: Path,
        fixed: TimePoint,
        moving: TimePoint,
        grid: Grid,
        device: torch.device,
        network: TrainedNetwork | None,
    ) -> DisplacementField:
        """The field that brings a scan of the digital patient in `folder` onto another."""
        if self.engine == EXACT:
            return true_field(folder, moving.id)
        engine = find_engine(self.engine)
        engine.check_scans(fixed, moving)
        settings = engine.settings_with(self.options)
        model = None if network is None else network.model
        return engine.run(Request(fixed, moving, grid, device, network=model, settings=settings))


def methods_of(engines: Iterable[str], weights: Mapping[str, Path] | None = None) -> tuple[Method, ...]:
    """Engines by their names, and networks by the names given to their weights files.

    Raises `InputError` on an unknown engine, a missing package or weights, and where nothing is named.
    """
    methods = [Method(name, name) for name in engines]
    methods += [Method(name, "network", path) for name, path in (weights or {}).items()]
    if not methods:
        raise InputError("nothing to evaluate was named", remedy="Give --engines or --weights")
    for method in methods:
        method.load_network()
    return tuple(methods)


def true_field(folder: Path, timepoint: str) -> DisplacementField:
    """The exact motion of a scan. Raises `InputError` for a study without truth."""
    known = read_true_fields(folder, timepoint)
    if known is None:
        raise InputError(f"the true motion of {timepoint} is not there (truth/)", where=folder)
    return DisplacementField(*known.field)
