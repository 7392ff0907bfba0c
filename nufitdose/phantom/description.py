"""What would be known of the scanner that made a digital patient: the description its study carries."""

import math

from nufitdose.phantom.scanner import SimulatedScanner
from nufitdose.scanner import Calibration, Scanner


def describe_scanner(simulated: SimulatedScanner, deep_share: float, calibration_error: float) -> Scanner:
    """The description of a simulated scanner for structures of which `deep_share` lies as deep as resolution follows.

    Its Gaussian is the one of the mean variance, FWHM² = s F_centre² + (1 - s) F_edge², s = `deep_share`: an
    approximation, as SPECT resolution follows the depth of each voxel. The calibration factor is 1 and its uncertainty
    the relative standard deviation that the simulation draws its error from, 0 where it draws none.
    """
    variance = deep_share * simulated.centre_fwhm_mm**2 + (1.0 - deep_share) * simulated.edge_fwhm_mm**2
    fwhm_mm = math.sqrt(variance)
    return Scanner(
        name=f"simulated {simulated.name}",
        fwhm_mm=(fwhm_mm, fwhm_mm, fwhm_mm),
        calibration=Calibration(u_percent=100.0 * calibration_error),
    )
