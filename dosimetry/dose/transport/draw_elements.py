"""Draw `data/photon_elements.npz` again: cross-sections and form factors of the elements, from xraylib.

`pip install xraylib==4.3.0`, then `python -m dosimetry.dose.transport.draw_elements OUT.npz`. The program itself needs
no xraylib.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nufitdose.errors import InputError

#: Hydrogen to calcium as far as tissue holds them, and what is put into bodies: titanium, iron, ... , iodine.
ATOMIC_NUMBERS = (1, 6, 7, 8, 11, 12, 15, 16, 17, 18, 19, 20, 22, 26, 29, 30, 47, 50, 53)
ENERGY_KEV = np.geomspace(1.0, 799.99, 161)  # xraylib ends at 800 keV
X_PER_ANGSTROM = np.concatenate([[0.0], np.geomspace(0.005, 80.0, 119)])  # sin(θ/2)/λ


def draw_elements() -> dict[str, NDArray[np.generic]]:
    """The arrays of the file by name: cross-sections cm²/g [elements, energies], functions [elements, x].

    The scattering function is that of one electron, 1 where all scatter alone. `InputError` without xraylib.
    """
    try:
        xraylib = importlib.import_module("xraylib")
    except ImportError as error:
        raise InputError("xraylib is not installed", remedy="pip install xraylib==4.3.0") from error
    drawn: dict[str, list[list[float]]] = {
        "photo_cm2_g": [[xraylib.CS_Photo(z, e) for e in ENERGY_KEV] for z in ATOMIC_NUMBERS],
        "coherent_cm2_g": [[xraylib.CS_Rayl(z, e) for e in ENERGY_KEV] for z in ATOMIC_NUMBERS],
        "incoherent_cm2_g": [[xraylib.CS_Compt(z, e) for e in ENERGY_KEV] for z in ATOMIC_NUMBERS],
        "scattering_function": [
            [0.0, *(xraylib.SF_Compt(z, x) / z for x in X_PER_ANGSTROM[1:])] for z in ATOMIC_NUMBERS
        ],
        "form_factor": [[xraylib.FF_Rayl(z, x) for x in X_PER_ANGSTROM] for z in ATOMIC_NUMBERS],
    }
    return {
        "z": np.array(ATOMIC_NUMBERS, dtype=np.int16),
        "atomic_mass": np.array([xraylib.AtomicWeight(z) for z in ATOMIC_NUMBERS]),
        "energy_kev": ENERGY_KEV.astype(np.float32),
        "x_per_angstrom": X_PER_ANGSTROM.astype(np.float32),
        **{name: np.array(rows, dtype=np.float32) for name, rows in drawn.items()},
    }


if __name__ == "__main__":
    np.savez_compressed(Path(sys.argv[1]), **draw_elements())  # type: ignore[arg-type]
