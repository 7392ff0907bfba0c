"""Radial kernels of mono-energetic photons in water, with the electrons that they set free carried on."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import no_type_check

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from dosimetry.dose.transport.electron_tables import electron_tables
from dosimetry.dose.transport.electrons import follow_electron
from dosimetry.dose.transport.photon_tables import WATER, photon_tables
from dosimetry.dose.transport.photons import follow_photon, total
from dosimetry.dose.transport.streams import start_stream, uniform
from dosimetry.dose.transport.water import Numbers
from nufitdose.compiled import compiled

EDGES_CM = np.geomspace(1e-3, 300.0, 151)  # shell 0 reaches from the source to the first edge
LOWEST_STOP_MEV, STOP_PART = 0.012, 0.03  # electrons end at the larger of the two, the second of the photon's energy
BLOCKS = 20
_STACK = 4096
_STARTS = 8  # distances scored of each of the two kinds
_NEAREST, _FARTHEST = 1e-4, 8.0  # of a mean free path: where first collisions are spread evenly in ln r


@dataclass(frozen=True, eq=False)
class PhotonKernel:
    """Parts of the energy of one photon: in shells, beyond the last of them, and the standard errors of the shells."""

    energy_mev: float
    deposited: Float[ndarray, " shells"]
    u_deposited: Float[ndarray, " shells"]
    escaped: float


def photon_kernel(energy_mev: float, histories: int, *, seed: int = 0, threads: int = 1) -> PhotonKernel:
    """Simulate photons of one energy from a point; the result depends on the seed, not on `threads`.

    What follows the first collision is simulated once and scored at several distances of that collision. Half of
    them are drawn evenly in ln r and weighted by μ e^(-μr)/q(r), q the density they were drawn from, so that shells
    near the source are hit as often as those a free path away.
    """
    photons, electrons = photon_tables(WATER), electron_tables(max(LOWEST_STOP_MEV, STOP_PART * energy_mev))
    ln_r = np.log(EDGES_CM)
    shells = (True, float(ln_r[0]), float(1.0 / (ln_r[1] - ln_r[0])))
    per_block = -(-histories // BLOCKS)

    def simulate(block: int) -> Numbers:
        tally = np.zeros(EDGES_CM.size + 1)
        weights = _histories(block * per_block, per_block, seed, energy_mev, photons, electrons, shells, tally)
        return tally / (weights * energy_mev)

    with ThreadPoolExecutor(threads) as pool:
        parts = np.array(list(pool.map(simulate, range(BLOCKS))))
    mean, error = parts.mean(axis=0), parts.std(axis=0, ddof=1) / np.sqrt(BLOCKS)
    return PhotonKernel(energy_mev, mean[:-1], error[:-1], float(mean[-1]))


@compiled
@no_type_check
def _histories(start, number, seed, energy_mev, photons, electrons, shells, tally):
    """Simulate `number` histories; returns the sum of their weights."""
    stack, stream, particle = np.empty((_STACK, 8)), np.zeros(1, np.uint64), np.empty(8)
    starts = np.empty((2 * _STARTS, 2))
    weights = 0.0
    for history in range(number):
        start_stream(stream, seed, start + history)
        weights += _place_starts(starts, total(energy_mev, photons), stream)
        particle[:] = 0.0
        particle[5], particle[6], particle[7] = 1.0, energy_mev, 1.0
        level = follow_photon(particle, True, photons, stack, 0, tally, shells, starts, stream)
        while level > 0:
            level -= 1
            particle[:] = stack[level]
            if particle[7] == 0.0:
                level = follow_electron(particle, electrons, stack, level, tally, shells, starts, stream)
            else:
                level = follow_photon(particle, False, photons, stack, level, tally, shells, starts, stream)
    return weights


@compiled
@no_type_check
def _place_starts(starts, mu, stream):
    """Draw stratified distances of the first collision, half as nature does, and their weights; the sum of these."""
    near, far = _NEAREST / mu, _FARTHEST / mu
    span = np.log(far / near)
    n, summed = starts.shape[0] // 2, 0.0
    for i in range(2 * n):
        place = (i // 2 + uniform(stream)) / n
        r = near * np.exp(span * place) if i % 2 else -np.log(1.0 - place) / mu
        attenuated = mu * np.exp(-mu * r)
        density = 0.5 * attenuated + (0.5 / (r * span) if near < r < far else 0.0)
        starts[i, 0], starts[i, 1] = r, attenuated / density / (2 * n)
        summed += starts[i, 1]
    return summed
