"""An imager without noise, calibration error or a CT phase of its own: what moves is all there is to see."""

from nufitdose.phantom.imaging import Imager, Protocol
from nufitdose.phantom.motion import MotionSize
from nufitdose.phantom.scanner import SCANNERS


def quiet_imager(anatomy, distribution, grid, *, sliding=False):
    """Scans of Lu-177 on `grid`, the CT too, with usual motion."""
    protocol = Protocol(
        seed=3,
        scanner=SCANNERS["Lu-177"],
        grid=grid,
        ct_grid=grid,
        motion=MotionSize(),
        noise=False,
        ct_noise_hu=0.0,
        calibration=1.0,
        ct_breathing_mm=0.0,
        ct_field_mm=None,
        sliding=sliding,
    )
    return Imager(anatomy, distribution, protocol)
