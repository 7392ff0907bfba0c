"""What a dose engine is asked, and what it answers."""

from dataclasses import dataclass

from dosimetry.config import DoseSettings
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.volume import Volume


@dataclass(frozen=True, eq=False)
class DoseRequest:
    """Time-integrated activity of a nuclide and its standard uncertainty, Bq·h/mL, and the anatomy on their grid.

    `u_tia` None: not known; `anatomy` None: there is no CT.
    """

    tia: Volume
    u_tia: Volume | None
    nuclide: str
    anatomy: PreparedAnatomy | None
    settings: DoseSettings


@dataclass(frozen=True, eq=False)
class AbsorbedDose:
    """Dose in Gy and its standard error in Gy by the same engine: NaN in voxels, None everywhere, where not known.

    `left_the_field`: share of the emitted energy that lands outside the field of view, None where not followed.
    """

    dose: Volume
    u_dose: Volume | None
    left_the_field: float | None = None
