"""What a digital patient is made from: everything that can be asked for, checked when it is asked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from nufitdose.errors import InputError
from nufitdose.phantom.anatomy import Implant
from nufitdose.phantom.build import Arms, Sex
from nufitdose.phantom.checks import Limits, require
from nufitdose.phantom.motion import MotionSize
from nufitdose.phantom.tracer import find_tracer
from nufitdose.phantom.tumours import SITES
from nufitdose.volume import Volume

MOST_TUMOURS = 12


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """A body to take instead of building one: a label map, the structure of each label, and its CT if there is one."""

    labels: Volume
    names: Mapping[int, str]
    ct: Volume | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class PatientSettings:
    """One patient and how it is imaged; with the same settings it is the same to the last bit.

    `tracer` is a tracer (`Lu-177-DOTATATE`) or a nuclide alone (`Lu-177`); `times_h` are hours after
    administration (default: usual for the tracer), the first is the reference. Activity has `shape` voxels of
    `spacing_mm`; the CT covers the same field of view with `ct_spacing_mm` (default two thirds of `spacing_mm`, at
    least 2 mm). `centre_z_mm` is the middle of the field of view, in a body of 176 cm above the lower end of L1
    (default by tracer). `tumours` (0 to 12; default 2 to 6) have diameters within `tumour_mm` and grow at
    `tumour_sites`, taken in turn (default by tracer). With the same seed, sites and centre two tracers see the same
    body and the same tumours.

    With `images` the patient is not built but taken from them; the field of view is centred on them, by the liver
    along z.

    `motion` scales `motion_size`; with `sliding` lungs and upper abdomen slide along the inner chest wall as they
    breathe, and the fields are discontinuous there. `count_level` scales the counts, `blur`
    the widths of the scanner's resolution; `calibration_error` is the
    relative standard deviation of one factor on all activity; `ct_breathing_mm` that of the diaphragm between
    emission and CT (attenuation correction suffers too); `ct_field_mm` truncates the CT to a circle. `sex`, `arms`,
    `contrast` (agent in the CT) and `implant` are drawn where not given. Raises `InputError` on values that make no
    sense.
    """

    tracer: str = "Lu-177-DOTATATE"
    times_h: Sequence[float] | None = None
    shape: Sequence[int] = (96, 96, 96)
    spacing_mm: float = 4.0
    ct_spacing_mm: float | None = None
    seed: int = 1
    patient: str | None = None
    sex: Sex | None = None
    arms: Arms | None = None
    images: LabelledImages | None = None
    tumours: int | None = None
    tumour_sites: Sequence[str] | None = None
    tumour_mm: tuple[float, float] = (5.0, 60.0)
    centre_z_mm: float | None = None
    administered_mbq: float | None = None
    motion: float = 1.0
    motion_size: MotionSize = field(default_factory=MotionSize)
    sliding: bool = False
    count_level: float = 1.0
    blur: float = 1.0
    noise: bool = True
    calibration_error: float = 0.0
    contrast: bool | None = None
    implant: Implant | None = None
    ct_breathing_mm: float = 0.0
    ct_field_mm: float | None = None

    def __post_init__(self) -> None:
        find_tracer(self.tracer)
        if self.times_h is not None:
            sort_times(self.times_h)
        if len(self.shape) != 3 or min(self.shape) < 16 or max(self.shape) > 1024:
            raise InputError(
                f"a shape of {list(self.shape)} voxels was given, three numbers from 16 to 1024 are wanted"
            )
        require("a spacing", self.spacing_mm, Limits(0.5, 20.0), "mm")
        require("a CT spacing", self.ct_spacing_mm, Limits(0.5, 20.0), "mm")
        require("a seed", self.seed, Limits(0, 2**63 - 1))
        require("a number of tumours", self.tumours, Limits(0, MOST_TUMOURS))
        for diameter in self.tumour_mm:
            require("a tumour diameter", diameter, Limits(2.0, 150.0), "mm")
        unknown = sorted(set(self.tumour_sites or ()) - set(SITES))
        if unknown:
            raise InputError(f"the tumour sites {unknown} are unknown", remedy=f"Known sites: {', '.join(SITES)}")
        require("a motion factor", self.motion, Limits(0.0, 3.0))
        require("a count level", self.count_level, Limits(1e-6, 1e6))
        require("a factor of the resolution", self.blur, Limits(0.5, 3.0))
        require("a calibration error", self.calibration_error, Limits(0.0, 0.5))
        require("a breathing difference", self.ct_breathing_mm, Limits(0.0, 40.0), "mm")
        require("a CT field", self.ct_field_mm, Limits(50.0, 2000.0), "mm")
        require("an administered activity", self.administered_mbq, Limits(1e-3, 1e6), "MBq")


def sort_times(times_h: Sequence[float]) -> list[float]:
    """Times in order; `InputError` unless they are different hours of 0 or more."""
    times = sorted(float(t) for t in times_h)
    if not times or not all(np.isfinite(times)) or times[0] < 0 or np.diff(times, prepend=-1.0).min() < 0.01:
        raise InputError(f"times of {list(times_h)} h were given, different hours of 0 or more are wanted")
    return times
