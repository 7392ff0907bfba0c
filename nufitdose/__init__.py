"""Voxel dosimetry of radionuclide therapy from serial SPECT/CT and PET/CT.

The names below are the library's front door; they are imported on first use, so that
`import nufitdose` (and `nufitdose --help`) stays instant.
"""

from typing import TYPE_CHECKING

from nufitdose.lazy import load_on_first_use
from nufitdose.version import __version__ as __version__

if TYPE_CHECKING:
    from nufitdose.errors import InputError as InputError
    from nufitdose.grid import Grid as Grid
    from nufitdose.io.nifti import load_volume as load_volume
    from nufitdose.io.study_folder import load_study as load_study
    from nufitdose.study import Administration as Administration
    from nufitdose.study import Study as Study
    from nufitdose.study import TimePoint as TimePoint
    from nufitdose.volume import Quantity as Quantity
    from nufitdose.volume import Volume as Volume

_HOME = {
    "Administration": "nufitdose.study",
    "Grid": "nufitdose.grid",
    "InputError": "nufitdose.errors",
    "Quantity": "nufitdose.volume",
    "Study": "nufitdose.study",
    "TimePoint": "nufitdose.study",
    "Volume": "nufitdose.volume",
    "load_study": "nufitdose.io.study_folder",
    "load_volume": "nufitdose.io.nifti",
}
__all__ = sorted(_HOME)  # noqa: PLE0605


__getattr__ = load_on_first_use(__name__, _HOME)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
