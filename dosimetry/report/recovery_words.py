"""What was done about the scanner's resolution and calibration, in sentences."""

from dosimetry.findings import Findings
from dosimetry.report.numbers import three


def recovery_sentences(results: Findings) -> list[str]:
    """Resolution, correction, and calibration of the scanner; nothing where there are no structures to speak of."""
    said, found, scanner = [], results.recovery, results.study.scanner
    if scanner is not None and scanner.calibration is not None:
        known = scanner.calibration
        made = f" of {known.date.isoformat()}" if known.date else ""
        said.append(
            f"Activities of {scanner.name} were multiplied by the calibration factor {three(known.factor, 4)}{made}, "
            f"known to {three(100.0 * known.relative_u, 2)} %."
        )
    if not found.structures:
        return said
    low, high = (three(width) for width in found.fwhm_mm)
    if found.method == "gtm":
        said.append(
            f"Spill-out and spill-in through the resolution of the scanner ({_widths(low, high)}) were corrected "
            "by the geometric transfer matrix over the structures, the tissue around each of them and the rest of the "
            "body (Rousset 1998), voxels by region-based voxel-wise correction (Thomas 2011)."
        )
    elif found.method == "volume":
        said.append("The activity of each structure was divided by the scanner's recovery coefficient of its volume.")
    elif found.assumed:
        said.append(
            f"The resolution of the scanner is not described: recovery was not corrected, and is told for an assumed "
            f"resolution of {low} to {high} mm FWHM."
        )
    else:
        said.append("Recovery was not corrected.")
    return said


def _widths(low: str, high: str) -> str:
    return f"Gaussian, {low} mm FWHM" if low == high else f"Gaussians, {low} mm FWHM near the surface to {high} mm deep"


def recovery_fact(results: Findings) -> str:
    """What the head of the page says of recovery."""
    if results.recovery.method == "none":
        return "recovery not corrected"
    return "spill-out and spill-in corrected" if results.recovery.method == "gtm" else "recovery corrected by volume"
