"""Each structure's curve on the page: its picture, its parameters, and what is to be said of it."""

import re
from dataclasses import dataclass

import numpy as np

from dosimetry.findings import Findings
from dosimetry.kinetics import OrganFit
from dosimetry.report import plots
from dosimetry.report.figures import Picture
from dosimetry.report.numbers import percent, three, with_error
from dosimetry.report.palette import Look, Looks
from dosimetry.results import StructureResult
from nufitdose.nuclides import half_life_h


@dataclass(frozen=True)
class CurvePanel:
    """One structure's curve, its parameters and what is to be said of them."""

    name: str
    look: Look
    picture: Picture
    parameters: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]


def curve_panels(results: Findings, looks: Looks) -> list[CurvePanel]:
    """The panels of all structures, on one axis of time."""
    physical_h, end_h = half_life_h(results.study.nuclide), plots.last_shown_h(results)
    return [
        CurvePanel(
            s.name,
            looks[s.name],
            plots.time_activity(s, physical_h, end_h, looks[s.name]),
            _parameters(s),
            _remarks(results, s),
        )
        for s in results.structures
    ]


def _parameters(s: StructureResult) -> tuple[tuple[str, str], ...]:
    fit, curve = s.fit, s.curve
    known = np.isfinite(fit.u_tia_mbq_h) and fit.rates_per_h.size == 1 and np.isfinite(fit.covariance).all()
    u_amplitude = float(np.sqrt(fit.covariance[0, 0])) if known else float("nan")
    amplitude = "A(0) of the tail" if fit.rising_share > 0 or fit.rates_per_h.size > 1 else "A(0)"
    weight = f", Akaike weight {three(curve.akaike_weight, 2)}" if np.isfinite(curve.akaike_weight) else ""
    integral = "TIA, mean of models" if curve.averaged else "TIA"
    if curve.average is not None:
        weight = f" leads with probability {three(curve.average.models[curve.average.best].weight, 2)}, bayes"
        integral = "TIA, median of models"
    return (
        ("model", f"{curve.model}{weight}"),
        (amplitude, f"{with_error(fit.amplitude_mbq, u_amplitude)} MBq"),
        ("T_eff", f"{with_error(curve.teff_h, curve.u_teff_h)} h"),
        (integral, f"{with_error(curve.tia_mbq_h, curve.u_tia_mbq_h)} MBq·h"),
        *_interval_rows(fit),
        ("before first scan", percent(100.0 * fit.before_first_fraction)),
        ("after last scan", percent(100.0 * fit.extrapolated_fraction)),
        ("voxel sum / curve", f"{three(s.sum_to_curve)} before scaling"),
        ("fit", re.split(r"[:,(]", fit.status.meaning)[0].strip()),
    )


def _interval_rows(fit: OrganFit) -> tuple[tuple[str, str], ...]:
    """95 % intervals, where they were asked for."""
    found = fit.intervals
    if found is None:
        return ()
    share = f"{100.0 * found.level:.0f} %"
    pairs = (("TIA", found.tia_mbq_h, "MBq·h"), ("T_eff", found.teff_h, "h"))
    return tuple((f"{what}, {share}", f"{three(low)} to {three(high)} {unit}") for what, (low, high), unit in pairs)


def _remarks(results: Findings, s: StructureResult) -> tuple[str, ...]:
    remarks = [flag for flag in s.flags if flag != s.fit.status.meaning]
    if s.fit.dof <= 0 and not np.isfinite(s.curve.u_tia_mbq_h) and not any("degree" in remark for remark in remarks):
        remarks.insert(0, "no degree of freedom: no fit error")
    cut = [f.id for f, activity in zip(results.frames, s.curve.activity_mbq, strict=True) if np.isnan(activity)]
    if cut:
        remarks.append(f"left out, cut by the field of view: {', '.join(cut)}")
    return tuple(remarks)
