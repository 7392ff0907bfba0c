"""What a dose engine is asked, and what it answers."""

from dataclasses import dataclass

from dosimetry.config import DoseSettings
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.progress import OnProgress
from nufitdose.volume import Volume


@dataclass(frozen=True, eq=False)
class DoseRequest:
    """Time-integrated activity of a nuclide and its standard uncertainty, Bq·h/mL, and the anatomy on their grid.

    `u_tia` None: not known; `anatomy` None: there is no CT. `seed` and `on_progress` are for engines that draw;
    `device`, "cpu" or one of torch, for those that convolve.
    """

    tia: Volume
    u_tia: Volume | None
    nuclide: str
    anatomy: PreparedAnatomy | None
    settings: DoseSettings
    seed: int = 0
    on_progress: OnProgress | None = None
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class AbsorbedDose:
    """Dose in Gy and its standard error in Gy by the same engine: NaN in voxels, None everywhere, where not known.

    `left_the_field`: share of the emitted energy that lands outside the field of view, None where not followed.
    `statistical_percent`: relative standard error by the engine's own random numbers, None where it draws none; see
    `histories.block_error_percent`.
    """

    dose: Volume
    u_dose: Volume | None
    left_the_field: float | None = None
    statistical_percent: float | None = None
