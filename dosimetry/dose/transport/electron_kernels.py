"""Radial kernels of mono-energetic electrons in water: where the energy goes, and what leaves as photons."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, no_type_check

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dosimetry.dose.transport.electron_tables import LOWEST_PHOTON_MEV, electron_tables
from dosimetry.dose.transport.electrons import follow_electron
from dosimetry.dose.transport.streams import start_stream, uniform
from dosimetry.dose.transport.water import Numbers, csda_range, energy_of_range
from nufitdose.compiled import compiled

SHELLS_PER_RANGE, SHELLS = 100, 115  # scaled radius r/R to 1.15
STOP_RANGE = 0.004  # electrons end where this part of the first range is left
BLOCKS = 20
PHOTON_EDGES_MEV = np.geomspace(LOWEST_PHOTON_MEV, 5.0, 61)
_STACK = 4096


@dataclass(frozen=True, eq=False)
class ElectronKernel:
    """Parts of the energy of one electron: in shells of r/R, its standard error, and radiated by photon energy."""

    energy_mev: float
    deposited: Float[ndarray, " shells"]
    u_deposited: Float[ndarray, " shells"]
    radiated: Float[ndarray, " photons"]


def electron_kernel(energy_mev: float, histories: int, *, seed: int = 0, threads: int = 1) -> ElectronKernel:
    """Simulate electrons of one energy from a point; the result depends on the seed, not on `threads`."""
    stop_mev = energy_of_range(STOP_RANGE * float(csda_range(np.array([energy_mev]))[0]))
    tables = electron_tables(stop_mev)
    shells = (False, 0.0, SHELLS_PER_RANGE / float(csda_range(np.array([energy_mev]))[0]))
    per_block = -(-histories // BLOCKS)

    def simulate(block: int) -> tuple[Numbers, Numbers]:
        tally, radiated = np.zeros(SHELLS + 2), np.zeros(PHOTON_EDGES_MEV.size - 1)
        first, last = block * per_block, (block + 1) * per_block
        _histories(first, last, seed, energy_mev, tables, shells, PHOTON_EDGES_MEV, tally, radiated)
        return tally, radiated

    with ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(simulate, range(BLOCKS)))
    parts = np.array([tally for tally, _ in blocks]) / (per_block * energy_mev)
    radiated = np.sum([r for _, r in blocks], axis=0) / (per_block * BLOCKS * energy_mev)
    return ElectronKernel(energy_mev, parts.mean(axis=0)[1:], parts.std(axis=0, ddof=1)[1:] / np.sqrt(BLOCKS), radiated)


@compiled
@no_type_check
def _histories(first, last, seed, energy_mev, tables, shells, photon_edges, tally, radiated):
    stack, stream, particle = np.empty((_STACK, 8)), np.zeros(1, np.uint64), np.empty(8)
    at_source = np.array([[0.0, 1.0]])
    for history in range(first, last):
        start_stream(stream, seed, history)
        cosine, phi = 2.0 * uniform(stream) - 1.0, 2.0 * np.pi * uniform(stream)
        sine = np.sqrt(1.0 - cosine * cosine)
        stack[0, 0:3] = 0.0
        stack[0, 3], stack[0, 4], stack[0, 5] = sine * np.cos(phi), sine * np.sin(phi), cosine
        stack[0, 6], stack[0, 7] = energy_mev, 0.0
        level = 1
        while level > 0:
            level -= 1
            particle[:] = stack[level]
            if particle[7] == 0.0:
                level = follow_electron(particle, tables, stack, level, tally, shells, at_source, stream)
            else:
                bin_of = min(max(np.searchsorted(photon_edges, particle[6]) - 1, 0), radiated.shape[0] - 1)
                radiated[bin_of] += particle[6]


def summary(kernel: ElectronKernel) -> dict[str, Any]:
    """x50 and x90 in units of the CSDA range, and the radiated part."""
    cumulative = np.concatenate([[0.0], np.cumsum(kernel.deposited)])
    radius = np.arange(cumulative.size) / SHELLS_PER_RANGE
    inside = cumulative / cumulative[-1]
    x50, x90 = np.interp([0.5, 0.9], inside, radius)
    return {"x50": float(x50), "x90": float(x90), "radiated": float(kernel.radiated.sum())}
