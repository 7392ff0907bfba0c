"""Makes the shipped tables of mono-energetic kernels.

`python -m dosimetry.dose.kernels.tabulate [FOLDER]`, on all threads; without a folder the shipped ones are replaced.

One table holds electrons, one photons; every nuclide's kernel is a sum over them, so that no nuclide's data
are shipped and any nuclide is at hand.
"""

import logging
import sys
from pathlib import Path

import numpy as np
from numba import get_num_threads

from dosimetry.dose.transport.electron_kernels import electron_kernel
from dosimetry.dose.transport.photon_kernels import photon_kernel

log = logging.getLogger(__name__)

DATA = Path(__file__).parent / "data"
ELECTRON_ENERGIES_MEV = np.geomspace(0.01, 4.0, 49)
PHOTON_ENERGIES_MEV = np.geomspace(0.002, 4.0, 77)
SEED = 20260
ELECTRONS, PHOTONS = 120_000, 32_000  # histories at each energy


def tabulate_electrons(histories: int, path: Path, *, threads: int = 1) -> None:
    """Write the kernels of mono-energetic electrons: parts of the energy by r/R, and parts radiated."""
    kernels = []
    for row, energy_mev in enumerate(ELECTRON_ENERGIES_MEV):
        kernels.append(electron_kernel(float(energy_mev), histories, seed=SEED + row, threads=threads))
        log.info("electrons of %.4f MeV done", energy_mev)
    np.savez_compressed(
        path,
        energy_mev=ELECTRON_ENERGIES_MEV,
        deposited=np.array([k.deposited for k in kernels], np.float32),
        u_deposited=np.array([k.u_deposited for k in kernels], np.float32),
        radiated=np.array([k.radiated for k in kernels], np.float32),
        histories=histories,
    )


def tabulate_photons(histories: int, path: Path, *, threads: int = 1) -> None:
    """Write the kernels of mono-energetic photons: parts of the energy by shell of `photon_kernels.EDGES_CM`."""
    kernels = []
    for row, energy_mev in enumerate(PHOTON_ENERGIES_MEV):
        kernels.append(photon_kernel(float(energy_mev), histories, seed=SEED + row, threads=threads))
        log.info("photons of %.4f MeV done", energy_mev)
    np.savez_compressed(
        path,
        energy_mev=PHOTON_ENERGIES_MEV,
        deposited=np.array([k.deposited for k in kernels], np.float32),
        u_deposited=np.array([k.u_deposited for k in kernels], np.float32),
        escaped=np.array([k.escaped for k in kernels], np.float32),
        histories=histories,
    )


def tabulate(folder: Path, electrons: int = ELECTRONS, photons: int = PHOTONS) -> None:
    """Write both tables with so many histories at each energy."""
    tabulate_electrons(electrons, folder / "electrons.npz", threads=get_num_threads())
    tabulate_photons(photons, folder / "photons.npz", threads=get_num_threads())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    tabulate(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
