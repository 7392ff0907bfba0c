"""The tables of a run; their names and columns are an interface (docs/reference/outputs.md)."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dosimetry.burden import ROLE, TumourBurden, tumour_burden
from dosimetry.curves.structures import StructureCurve
from dosimetry.kinetics import AveragedCurve, Intervals, OrganFit
from dosimetry.lights.structures import judge
from dosimetry.lights.values import Light
from dosimetry.metrics.biological import BiologicalDose, MixedBiologicalDose, common_value
from dosimetry.metrics.derived import ROLE as DERIVED
from dosimetry.output.budget import INTERVALS, intervals, write_budget
from dosimetry.output.isodoses import write_isodoses
from dosimetry.output.long_table import write_long_table
from dosimetry.output.red_marrow import write_red_marrow
from dosimetry.output.source_regions import tiac_text
from dosimetry.recovery import Recovery
from dosimetry.results import CurveResult, DerivedResult, PatientResults, StructureResult
from nufitdose.io.csv_table import Row, write_csv
from nufitdose.registration.output import write_registration_tables

_TAC = ("structure", "timepoint", "time_h", "activity_mbq", "u_activity_mbq", "fitted_mbq")
_DVH = ("structure", "dose_gy", "volume_percent", "volume_ml_per_gy")
_BIOLOGICAL = (
    "bed_mean_gy", "eqd2_mean_gy", "eubed_gy", "dose_rbe_mean_gy",
    "u_bed_mean_gy", "u_eqd2_mean_gy", "u_eubed_gy", "u_dose_rbe_mean_gy",
)  # fmt: skip


def write_tables(results: PatientResults, folder: Path) -> None:
    """Every table of the results folder, those of the registration included."""
    columns = _metrics_columns(results)
    empty = dict.fromkeys(columns, float("nan"))
    judged = judge(results)
    rows = [{**empty, **_metrics_row(row, judged.get(row.name), results.recovery)} for row in results.rows]
    burden = tumour_burden(results)
    rows += [{**empty, **_burden_row(burden)}] if burden else []
    rows += [{**empty, **_derived_row(found)} for found in results.derived]
    write_csv(folder / "metrics.csv", columns, rows)
    write_long_table(results.study, columns, rows, folder)
    write_isodoses(results, folder)
    write_red_marrow(results, folder)
    write_budget(results, folder)
    write_csv(folder / "tac.csv", _TAC, _tac_rows(results))
    curves = {row.name: _curve_record(row) for row in results.rows}
    (folder / "curves.json").write_text(json.dumps(curves, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    write_csv(folder / "dvh.csv", _DVH, _dvh_rows(results))
    (folder / "tiac.txt").write_text(tiac_text(results), encoding="utf-8")
    write_registration_tables(results.frames, folder)


def _metrics_columns(results: PatientResults) -> tuple[str, ...]:
    thresholds = (f"v_{gy:g}gy_percent" for gy in results.settings.metrics.volume_at_gy)
    volumes = (f"d_{ml:g}cc_gy" for ml in results.settings.metrics.dose_at_ml)
    sphere = () if results.settings.dose.sphere_below_ml is None else ("dose_sphere_gy",)
    return (
        "structure", "role", "volume_ml", "mass_g", "tia_mbq_h", "tiac_h", "teff_h",
        "dose_mean_gy", "dose_d2_gy", "dose_d50_gy", "dose_d98_gy", "dose_min_gy", "dose_max_gy", "dose_d35mm3_gy",
        *thresholds,
        "dose_mean_gy_per_gbq", "tia_curve_mbq_h", "extrapolated_percent",
        "dose_mean_unregistered_gy", "dose_d2_unregistered_gy", "dose_d98_unregistered_gy",
        "u_tia_mbq_h", "u_tiac_h", "u_teff_h", "u_dose_mean_gy",
        "model", "akaike_weight", "u_tia_curve_mbq_h", "before_percent", "fit_flags",
        "u_extrapolated_percent",
        "recovery", "u_recovery", "recovery_method",
        "u_tia_fit_mbq_h", *INTERVALS, "light", "light_reason",
        "dose_near_min_gy", "dose_near_max_gy", "homogeneity_index", "geud_gy", *volumes,
        *_BIOLOGICAL, "alpha_beta_gy", "t_rep_h", "protraction", "rbe_alpha", *sphere,
    )  # fmt: skip


def _metrics_row(result: CurveResult, light: Light | None, recovery: Recovery) -> Row:
    relative, mean_gy = result.relative_u_tia, result.dose.get("dose_mean_gy", float("nan"))
    return {
        "structure": result.name,
        "role": result.role,
        "volume_ml": result.volume_ml,
        "mass_g": result.mass_g,
        "tia_mbq_h": result.tia_mbq_h,
        "tiac_h": result.tiac_h,
        "teff_h": result.curve.teff_h,
        **result.dose,
        "dose_mean_gy_per_gbq": _per_gbq(mean_gy, result),
        "tia_curve_mbq_h": result.curve.tia_mbq_h,
        "extrapolated_percent": 100.0 * result.fit.extrapolated_fraction,
        **_unregistered(result.unregistered),
        "u_tia_mbq_h": relative * result.tia_mbq_h,
        "u_tiac_h": relative * result.tiac_h,
        "u_teff_h": result.curve.u_teff_h,
        "u_dose_mean_gy": result.u_dose_mean_gy,
        "model": result.curve.model,
        "akaike_weight": result.curve.akaike_weight,
        "u_tia_curve_mbq_h": result.curve.u_tia_mbq_h,
        "before_percent": 100.0 * result.fit.before_first_fraction,
        "fit_flags": "; ".join(result.flags),
        "u_extrapolated_percent": 100.0 * result.fit.u_extrapolated_fraction,
        "u_tia_fit_mbq_h": result.relative_u_fit * result.tia_mbq_h,
        **intervals(result),
        "light": light.state.colour if light else "",
        "light_reason": light.sentence if light else "",
        "recovery": recovery.value(result.name),
        "u_recovery": recovery.relative_u(result.name) * recovery.value(result.name),
        "recovery_method": recovery.method_of(result.name) + (" (assumed)" if recovery.assumed else ""),
        **_biological(result.biological if isinstance(result, StructureResult) else None),
        "dose_sphere_gy": result.sphere_gy if isinstance(result, StructureResult) else float("nan"),
    }


def _burden_row(burden: TumourBurden) -> Row:
    own = {name: getattr(burden, name) for name in ("volume_ml", "mass_g", "tia_mbq_h", "tiac_h", "u_dose_mean_gy")}
    return {
        "structure": burden.name,
        "role": ROLE,
        **own,
        **burden.dose,
        "dose_mean_gy_per_gbq": _per_gbq(burden.dose["dose_mean_gy"], burden),
        "u_tia_mbq_h": burden.relative_u_tia * burden.tia_mbq_h,
        "u_tiac_h": burden.relative_u_tia * burden.tiac_h,
        **_biological(burden.biological),
    }


def _derived_row(found: DerivedResult) -> Row:
    own = {name: getattr(found, name) for name in ("volume_ml", "mass_g", "tia_mbq_h", "tiac_h", "u_dose_mean_gy")}
    return {
        "structure": found.name,
        "role": DERIVED,
        **own,
        **found.dose,
        **_unregistered(found.unregistered),
        "dose_mean_gy_per_gbq": _per_gbq(found.dose["dose_mean_gy"], found),
        **_biological(found.biological),
    }


def _per_gbq(mean_gy: float, found: CurveResult | TumourBurden | DerivedResult) -> float:
    """Mean dose per administered activity, which is Ã over its coefficient; NaN without Ã."""
    return mean_gy * found.tiac_h / found.tia_mbq_h * 1e3 if found.tia_mbq_h > 0 else float("nan")


def _unregistered(dose: Mapping[str, float]) -> Row:
    return {f"dose_{name}_unregistered_gy": dose.get(f"dose_{name}_gy", float("nan")) for name in ("mean", "d2", "d98")}


def _biological(found: BiologicalDose | MixedBiologicalDose | None) -> Row:
    """BED and what it was made with; nothing where it is not known, or where several tissues have not the same."""
    if found is None:
        return {}
    effects = found.effects
    return {
        **{column: getattr(found, column) for column in _BIOLOGICAL},
        "alpha_beta_gy": common_value([effect.response.alpha_beta_gy for effect in effects]),
        "t_rep_h": common_value([effect.response.t_rep_h for effect in effects]),
        "protraction": common_value([effect.protraction for effect in effects]),
        "rbe_alpha": effects[0].rbe_alpha if effects[0].alpha_share > 0 else float("nan"),
    }


def _tac_rows(results: PatientResults) -> Iterable[Row]:
    for row in results.rows:
        curve = row.curve
        points = zip(
            curve.times_h, curve.activity_mbq, curve.u_activity_mbq, curve.fit.curve(curve.times_h), strict=True
        )
        for frame, (time_h, activity, u, fitted) in zip(results.frames, points, strict=True):
            yield {
                "structure": row.name,
                "timepoint": frame.id,
                "time_h": float(time_h),
                "activity_mbq": float(activity),
                "u_activity_mbq": float(u) if math.isfinite(activity) else float("nan"),
                "fitted_mbq": float(fitted),
            }


def _curve_record(row: CurveResult) -> dict[str, Any]:
    """The curve of a structure, the remainder or the body, f(t) = Σ a_j e^(-λ_j t); null where unknown."""
    curve, fit = row.curve, row.fit
    compared = curve.choice.weights if curve.choice else {}
    asked_for: dict[str, Any] = {"intervals": _interval_record(fit.intervals)} if fit.intervals else {}
    if curve.average is not None:
        asked_for["average"] = _average_record(curve.average)
    if curve.shared_with:
        asked_for["shared_rates_with"] = list(curve.shared_with)
    return {
        "model": curve.model,
        "status": fit.status.name,
        "akaike_weights": {name: float(weight) for name, weight in compared.items()},
        "models": _model_records(curve),
        "averaged": curve.averaged,
        "amplitudes_mbq": fit.amplitudes_mbq.tolist(),
        "rates_per_h": fit.rates_per_h.tolist(),
        "rising_share": fit.rising_share,
        "covariance": [[_known(value) for value in row] for row in fit.covariance.tolist()],
        "tia_mbq_h": _known(curve.tia_mbq_h),
        "u_tia_mbq_h": _known(curve.u_tia_mbq_h),
        "teff_h": _known(curve.teff_h),
        "u_teff_h": _known(curve.u_teff_h),
        "before_first_fraction": _known(fit.before_first_fraction),
        "extrapolated_fraction": _known(fit.extrapolated_fraction),
        "u_extrapolated_fraction": _known(fit.u_extrapolated_fraction),
        "voxel_sum_before_scaling": _known(row.sum_to_curve),
        "chi2": _known(fit.chi2),
        "aicc": _known(fit.aicc),
        "degrees_of_freedom": fit.dof,
        "flags": list(row.flags),
        **asked_for,
    }


def _model_records(curve: StructureCurve) -> dict[str, Any]:
    """Every model that was weighed: its weight, its own curve as above, and its integral; empty without a choice."""
    return {
        name: {
            "weight": float(curve.weights[name]),
            "amplitudes_mbq": model.amplitudes_mbq.tolist(),
            "rates_per_h": model.rates_per_h.tolist(),
            "rising_share": model.rising_share if isinstance(model, OrganFit) else 0.0,
            "tia_mbq_h": _known(model.tia_mbq_h),
            "u_tia_mbq_h": _known(model.u_tia_mbq_h),
        }
        for name, model in curve.compared.items()
    }


def _average_record(found: AveragedCurve) -> dict[str, Any]:
    """What a curve averaged over models says beside its integral; `red` is null where nothing speaks against it."""
    return {
        "probabilities": {name: model.weight for name, model in found.models.items()},
        "tia_mean_mbq_h": found.tia_mean_mbq_h,
        "tia_68_mbq_h": list(found.tia_68_mbq_h),
        "tia_at_most_mbq_h": found.tia_at_most_mbq_h,
        "birge_ratio": found.birge_ratio,
        "prior": found.prior.name,
        "prior_source": found.prior.source,
        "red": found.red or None,
    }


def _interval_record(found: Intervals) -> dict[str, Any]:
    """Confidence intervals [low, high]; a side that the data do not bound is null."""
    parameters = {name: [_known(side) for side in pair] for name, pair in found.parameters.items()}
    return {
        "level": found.level,
        "method": found.method.value,
        "tia_mbq_h": [_known(side) for side in found.tia_mbq_h],
        "teff_h": [_known(side) for side in found.teff_h],
        "parameters": parameters,
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _dvh_rows(results: PatientResults) -> Iterable[Row]:
    named = [(found.name, found.histogram) for found in results.structures]
    named += [(found.name, found.histogram) for found in results.derived]
    for name, histogram in named:
        dose_gy, percent = histogram.curve()
        density = np.append(histogram.differential_ml_per_gy(), np.nan)
        for row in zip(dose_gy, percent, density, strict=True):
            yield {"structure": name} | dict(zip(_DVH[1:], map(float, row), strict=True))
