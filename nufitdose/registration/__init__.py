"""Registration: bring the scans of one patient into one frame.

The names below are imported on first use, so that reading the settings of a registration does not load torch.
"""

from typing import TYPE_CHECKING

from nufitdose.lazy import load_on_first_use

if TYPE_CHECKING:
    from nufitdose.registration.field import DisplacementField as DisplacementField
    from nufitdose.registration.quality import RegistrationQuality as RegistrationQuality
    from nufitdose.registration.scan_to_scan import Registration as Registration
    from nufitdose.registration.scan_to_scan import register as register

_HOME = {
    "DisplacementField": "nufitdose.registration.field",
    "Registration": "nufitdose.registration.scan_to_scan",
    "RegistrationQuality": "nufitdose.registration.quality",
    "register": "nufitdose.registration.scan_to_scan",
}
__all__ = sorted(_HOME)  # noqa: PLE0605


__getattr__ = load_on_first_use(__name__, _HOME)
