"""What a CT number is made of: mass fractions of the elements (Schneider et al. 2000)."""

import numpy as np
from numpy.typing import NDArray

from nufitdose.types import Numbers

#: Atomic numbers of the columns of `SCHNEIDER_PERCENT`: H C N O Na Mg P S Cl Ar K Ca.
ELEMENTS = (1, 6, 7, 8, 11, 12, 15, 16, 17, 18, 19, 20)
#: Schneider, Bortfeld, Schlegel, Phys Med Biol 2000;45:459, doi:10.1088/0031-9155/45/2/314: lowest HU of each tissue,
#: and its composition in percent by mass. The first is air, the second lung; from 120 HU on it is bone with its marrow.
#: The densest bone goes on where the source lists metals (`METAL_HU`): a CT does not tell which metal.
SCHNEIDER_LOWEST_HU = np.array(
    [-1050, -950, -120, -82, -52, -22, 8, 19, 80, 120, *range(200, 1600, 100)],
    dtype=float,
)
SCHNEIDER_PERCENT = np.array(
    [
        [0, 0, 75.5, 23.2, 0, 0, 0, 0, 0, 1.3, 0, 0],
        [10.3, 10.5, 3.1, 74.9, 0.2, 0, 0.2, 0.3, 0.3, 0, 0.2, 0],
        [11.6, 68.1, 0.2, 19.8, 0.1, 0, 0, 0.1, 0.1, 0, 0, 0],
        [11.3, 56.7, 0.9, 30.8, 0.1, 0, 0, 0.1, 0.1, 0, 0, 0],
        [11, 45.8, 1.5, 41.1, 0.1, 0, 0.1, 0.2, 0.2, 0, 0, 0],
        [10.8, 35.6, 2.2, 50.9, 0, 0, 0.1, 0.2, 0.2, 0, 0, 0],
        [10.6, 28.4, 2.6, 57.8, 0, 0, 0.1, 0.2, 0.2, 0, 0.1, 0],
        [10.3, 13.4, 3, 72.3, 0.2, 0, 0.2, 0.2, 0.2, 0, 0.2, 0],
        [9.4, 20.7, 6.2, 62.2, 0.6, 0, 0, 0.6, 0.3, 0, 0, 0],
        [9.5, 45.5, 2.5, 35.5, 0.1, 0, 2.1, 0.1, 0.1, 0, 0.1, 4.5],
        [8.9, 42.3, 2.7, 36.3, 0.1, 0, 3, 0.1, 0.1, 0, 0.1, 6.4],
        [8.2, 39.1, 2.9, 37.2, 0.1, 0, 3.9, 0.1, 0.1, 0, 0.1, 8.3],
        [7.6, 36.1, 3, 38, 0.1, 0.1, 4.7, 0.2, 0.1, 0, 0, 10.1],
        [7.1, 33.5, 3.2, 38.7, 0.1, 0.1, 5.4, 0.2, 0, 0, 0, 11.7],
        [6.6, 31, 3.3, 39.4, 0.1, 0.1, 6.1, 0.2, 0, 0, 0, 13.2],
        [6.1, 28.7, 3.5, 40, 0.1, 0.1, 6.7, 0.2, 0, 0, 0, 14.6],
        [5.6, 26.5, 3.6, 40.5, 0.1, 0.2, 7.3, 0.3, 0, 0, 0, 15.9],
        [5.2, 24.6, 3.7, 41.1, 0.1, 0.2, 7.8, 0.3, 0, 0, 0, 17],
        [4.9, 22.7, 3.8, 41.6, 0.1, 0.2, 8.3, 0.3, 0, 0, 0, 18.1],
        [4.5, 21, 3.9, 42, 0.1, 0.2, 8.8, 0.3, 0, 0, 0, 19.2],
        [4.2, 19.4, 4, 42.5, 0.1, 0.2, 9.2, 0.3, 0, 0, 0, 20.1],
        [3.9, 17.9, 4.1, 42.9, 0.1, 0.2, 9.6, 0.3, 0, 0, 0, 21],
        [3.6, 16.5, 4.2, 43.2, 0.1, 0.2, 10, 0.3, 0, 0, 0, 21.9],
        [3.4, 15.5, 4.2, 43.5, 0.1, 0.2, 10.3, 0.3, 0, 0, 0, 22.5],
    ]
)  # fmt: skip
METAL_HU = 1640.0  # from here on the source lists amalgam, titanium and steel
SOFT_TISSUE = 7  # where nothing is known


def tissue_of_hu(hu: Numbers) -> NDArray[np.uint8]:
    """The row of `SCHNEIDER_PERCENT` of a CT number; both ends go on."""
    return np.asarray(np.clip(np.digitize(hu, SCHNEIDER_LOWEST_HU) - 1, 0, None), dtype=np.uint8)


def mass_fractions(tissue: int) -> dict[int, float]:
    """Mass fractions by atomic number of a row, summing to one."""
    percent = SCHNEIDER_PERCENT[tissue]
    return {Z: float(p / percent.sum()) for Z, p in zip(ELEMENTS, percent, strict=True) if p > 0.0}
