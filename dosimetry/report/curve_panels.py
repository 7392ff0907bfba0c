"""Each structure's curve on the page: its picture, its parameters, and what is to be said of it."""

import re
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from dosimetry.findings import Findings
from dosimetry.kinetics import OrganFit
from dosimetry.report.curve_drawings import CurveDrawing, draw_curve, last_shown_h, model_swatch
from dosimetry.report.numbers import change_percent, percent, three, with_error
from dosimetry.report.palette import FAINT, Look, Looks
from dosimetry.report.tables import Row, Table
from dosimetry.results import CurveResult
from nufitdose.nuclides import half_life_h

#: The remainder and the whole body, which are no structures.
_APART = Look(FAINT, ())


@dataclass(frozen=True)
class ModelRow:
    """One of the models weighed: how its line looks, its weight, its own integral, and whether it was taken."""

    name: str
    swatch: Markup
    weight: str
    tia: str
    taken: bool


@dataclass(frozen=True)
class CurvePanel:
    """One structure's curve, its parameters, the models it was weighed against, its points, and what is to be said."""

    name: str
    look: Look
    drawing: CurveDrawing
    parameters: tuple[tuple[str, str], ...]
    weighed_by: str
    models: tuple[ModelRow, ...]
    points: Table
    remarks: tuple[str, ...]


def curve_panels(results: Findings, looks: Looks) -> list[CurvePanel]:
    """The panels of all structures, of the remainder and of the whole body, on one axis of time."""
    physical_h, end_h = half_life_h(results.study.nuclide), last_shown_h(results)
    return [
        CurvePanel(
            name=row.name,
            look=looks.get(row.name, _APART),
            drawing=draw_curve(row, physical_h, end_h, looks.get(row.name, _APART)),
            parameters=_parameters(row),
            weighed_by="probability" if row.curve.average else "Akaike weight",
            models=_models(row),
            points=_points(results, row),
            remarks=_remarks(results, row),
        )
        for row in results.rows
    ]


def _models(s: CurveResult) -> tuple[ModelRow, ...]:
    """Every model compared, the heaviest first."""
    weights = s.curve.weights
    return tuple(
        ModelRow(
            name,
            model_swatch(name),
            three(weights[name], 2),
            with_error(model.tia_mbq_h, model.u_tia_mbq_h),
            name == s.fit.model,
        )
        for name, model in sorted(s.curve.compared.items(), key=lambda pair: -weights[pair[0]])
    )


def _points(results: Findings, s: CurveResult) -> Table:
    """What was measured at each scan, the curve there, and what is left over, in percent of the curve."""
    rows, fitted = [], s.fit.curve(s.curve.times_h)
    for n, frame in enumerate(results.frames):
        measured, curve_mbq = float(s.curve.activity_mbq[n]), float(fitted[n])
        left_over = 100.0 * (measured / curve_mbq - 1.0) if curve_mbq > 0 else float("nan")
        known = with_error(measured, float(s.curve.u_activity_mbq[n]))
        rows.append(
            Row(frame.id, (three(float(s.curve.times_h[n])), known, three(curve_mbq), change_percent(left_over)))
        )
    return Table(("scan", "h", "measured MBq", "curve MBq", "difference"), rows)


def _parameters(s: CurveResult) -> tuple[tuple[str, str], ...]:
    fit, curve = s.fit, s.curve
    known = np.isfinite(fit.u_tia_mbq_h) and fit.rates_per_h.size == 1 and np.isfinite(fit.covariance).all()
    u_amplitude = float(np.sqrt(fit.covariance[0, 0])) if known else float("nan")
    amplitude = "A(0) of the tail" if fit.rising_share > 0 or fit.rates_per_h.size > 1 else "A(0)"
    weight = f", Akaike weight {three(curve.akaike_weight, 2)}" if np.isfinite(curve.akaike_weight) else ""
    integral = "TIA, mean" if curve.averaged else "TIA"
    if curve.average is not None:
        weight = f", probability {three(curve.average.models[curve.average.best].weight, 2)}"
        integral = "TIA, median"
    return (
        ("model", f"{curve.model}{weight}"),
        (amplitude, f"{with_error(fit.amplitude_mbq, u_amplitude)} MBq"),
        *([("T_eff", f"{with_error(curve.teff_h, curve.u_teff_h)} h")] if np.isfinite(curve.teff_h) else []),
        (integral, f"{with_error(curve.tia_mbq_h, curve.u_tia_mbq_h)} MBq·h"),
        *_interval_rows(fit),
        ("before first scan", percent(100.0 * fit.before_first_fraction)),
        ("after last scan", percent(100.0 * fit.extrapolated_fraction)),
        *([("voxels / curve", f"{three(s.sum_to_curve)} before scaling")] if np.isfinite(s.sum_to_curve) else []),
        ("fit", re.split(r"[:,(]", fit.status.meaning)[0].strip()),
    )


def _interval_rows(fit: OrganFit) -> tuple[tuple[str, str], ...]:
    """95 % intervals, where they were asked for."""
    found = fit.intervals
    if found is None:
        return ()
    share = f"{100.0 * found.level:.0f} %"
    pairs = (("TIA", found.tia_mbq_h, "MBq·h"), ("T_eff", found.teff_h, "h"))
    return tuple(
        (f"{what}, {share}", f"{three(low)} to {three(high)} {unit}")
        for what, (low, high), unit in pairs
        if not np.isnan([low, high]).all()
    )


def _remarks(results: Findings, s: CurveResult) -> tuple[str, ...]:
    remarks = [flag for flag in s.flags if flag != s.fit.status.meaning]
    if s.fit.dof <= 0 and not np.isfinite(s.curve.u_tia_mbq_h) and not any("degree" in remark for remark in remarks):
        remarks.insert(0, "no degree of freedom: no fit error")
    cut = [f.id for f, activity in zip(results.frames, s.curve.activity_mbq, strict=True) if np.isnan(activity)]
    if cut:
        remarks.append(f"left out, cut by the field of view: {', '.join(cut)}")
    return tuple(remarks)
