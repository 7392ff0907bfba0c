"""The command `recovery`: a scan of spheres in, a scanner file and a table of what was found out."""

from pathlib import Path

import numpy as np

from nufitdose.anatomy.regions import Region, region_on
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume
from nufitdose.io.study_folder import MANIFEST, load_study, write_scanner
from nufitdose.psf import sphere_recovery
from nufitdose.scanner import Scanner
from nufitdose.spheres.measurement import SphereReading, read_spheres
from nufitdose.spheres.recovery_fit import RecoveryFit, fit_recovery
from nufitdose.spheres.resolution import ResolutionFit, fit_resolution
from nufitdose.study import Structures
from nufitdose.text import significant, text_table
from nufitdose.volume import Quantity, Volume

BACKGROUND = "background"


def run_recovery(
    scan: Path,
    out: Path,
    *,
    labels: Path | None,
    truth_bq_ml: float,
    background_bq_ml: float | None,
    name: str,
) -> str:
    """Fit recovery and resolution of a scan of spheres, write the scanner file `out`, and return the table.

    `scan` is an activity image with the label map `labels`, or a study folder whose structures are the spheres; one
    called "background" gives the background where it is not given. Raises `InputError` on what cannot be used.
    """
    if out.exists():
        raise InputError("there is already a file here", where=out, remedy="Name a new one with --out")
    activity, regions = read_scan(scan, labels)
    spheres = {key: region for key, region in regions.items() if key != BACKGROUND}
    if background_bq_ml is None:
        background_bq_ml = regions[BACKGROUND].mean(activity) if BACKGROUND in regions else 0.0
    try:
        readings = read_spheres(activity, spheres, truth_bq_ml, background_bq_ml)
        fit, resolution = fit_recovery(readings), fit_resolution(activity, spheres)
    except InputError as error:
        raise error.located(scan) from error
    write_scanner(Scanner(name, resolution.fwhm_mm, fit.curve), out)
    lines = _table(readings, fit, resolution, truth_bq_ml, background_bq_ml)
    return "\n".join([*lines, f"scanner file: {out}"])


def read_scan(scan: Path, labels: Path | None) -> tuple[Volume, dict[str, Region]]:
    """The activity and the spheres on its grid, by name, of an image with its label map or of a study folder."""
    if scan.is_dir() or scan.name == MANIFEST:
        if labels is not None:
            raise InputError(
                "a study folder and --labels were given", where=scan, remedy="Its structures are the spheres; give one"
            )
        study = load_study(scan)
        activity, structures = study.reference.activity, study.structures
        if structures is None:
            raise InputError("the study has no structures", where=scan, remedy="Draw every sphere as a structure")
    else:
        if labels is None:
            raise InputError("no --labels were given", where=scan, remedy="Give a label map of the spheres (NIfTI)")
        activity = load_volume(scan, Quantity.ACTIVITY)
        layer = load_volume(labels, Quantity.LABELS)
        found = [int(label) for label in np.unique(layer.data) if label]
        structures = Structures((layer,), {label: f"sphere_{label}" for label in found})
    regions = {}
    for key in structures.present():
        mask, drawn = structures.mask(key)
        regions[key] = region_on(mask, drawn.grid, activity.grid)
        if not regions[key].index.size or regions[key].outside_ml > 0:
            raise InputError(
                f"{key!r} lies outside the image, wholly or in part", where=scan, remedy="Check that both share a world"
            )
    if not regions:
        raise InputError("the label map holds no label", where=labels or scan)
    return activity, regions


def _table(
    readings: list[SphereReading], fit: RecoveryFit, resolution: ResolutionFit, truth: float, background: float
) -> list[str]:
    held = {row.name: row for row in fit.held_out}
    width = float(np.mean(resolution.fwhm_mm))
    rows = []
    for reading in readings:
        row = held.get(reading.name)
        rows.append(
            [
                reading.name,
                significant(reading.volume_ml),
                f"{reading.recovery:.3f}",
                f"{fit.curve.value(reading.volume_ml):.3f}",
                f"{row.predicted:.3f} ± {row.u:.3f}" if row else "-",
                f"{sphere_recovery(reading.volume_ml, width):.3f}",
            ]
        )
    heads = ["sphere", "mL", "R", "curve", "held out", "Gaussian"]
    curve, axes = fit.curve, "ijk"
    errors = zip(axes, resolution.fwhm_mm, resolution.u_fwhm_mm, strict=True)
    (a, c), (_, b) = curve.covariance
    correlation = c / np.sqrt(a * b) if a * b > 0 else 0.0
    return [
        text_table(heads, rows),
        f"R(V) = 1 - 1/(1 + (V/β1)^β2): β1 {curve.beta1_ml:.4g} ± {np.sqrt(a):.2g} mL, β2 {curve.beta2:.4g} ± "
        f"{np.sqrt(b):.2g}, correlation {correlation:.2f}; scatter {fit.scatter:.3f}",
        "FWHM " + ", ".join(f"{axis} {value:.2f} ± {u:.2g}" for axis, value, u in errors) + " mm",
        f"concentration filled in {truth:.4g} Bq/mL, that makes this image with this resolution "
        f"{resolution.sphere_bq_ml:.4g} ({resolution.sphere_bq_ml / truth:.3f} of it; background "
        f"{resolution.background_bq_ml:.4g}, taken as {background:.4g})",
        "held out: the sphere as the curve of the others has it; Gaussian: a sphere seen with the mean FWHM",
    ]
