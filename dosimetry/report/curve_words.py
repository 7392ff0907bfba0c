"""How the time-activity curves of a run were made, in words to paste."""

from collections.abc import Sequence

import numpy as np

from dosimetry.config import REST
from dosimetry.curves.fits import CANDIDATES
from dosimetry.curves.methods import METHODS
from dosimetry.findings import Findings
from dosimetry.kinetics import FitStatus
from dosimetry.kinetics.averaged_curve import ASSUMED_U
from dosimetry.kinetics.model_average import FEW_SCAN_MODELS
from dosimetry.report.numbers import three

_RISING = (
    "Where activity rose, it was integrated linearly from zero at administration and between the points, with "
    "physical decay after the last."
)


_REST_WORDS = "voxels of no structure took that of the remainder, the whole body less all structures."
_INTERVALS = {
    "profile": "Their 95 % intervals come from the profile of the sum of squares, or from the covariance where there "
    "is no profile.",
    "bootstrap": "Their 95 % intervals hold the middle of fits to points redrawn within that uncertainty (parametric "
    "bootstrap).",
}


def curve_sentences(results: Findings) -> list[str]:
    """What was fitted or assumed, in which voxels, and how the model was found."""
    by_method: dict[str, list[str]] = {}
    for name, method in _voxel_methods(results).items():
        by_method.setdefault(method, []).append(name)
    said = [_voxels(method, names, len(by_method) == 1, results) for method, names in by_method.items()]
    if len(results.frames) == 1:
        return [*said, *_beds(results)]
    said += [_RISING] if any(METHODS[method].model for method in by_method) else []
    return [*said, *_choice(results), *_average(results), *_borrowing(results), *_structures(results), *_beds(results)]


def _voxel_methods(results: Findings) -> dict[str, str]:
    """The curve method of the voxels of every structure, and of the rest; a fit of one scan is physical decay."""
    found = {}
    for name, curve in results.curves.items():
        asked = results.settings.kinetics.method(name)
        if METHODS[asked].voxels:  # rules are no models of voxels: their curves have none
            method = asked
        else:
            method = "mono" if name == REST and curve.average is not None else curve.voxel_model
        one_scan = len(results.frames) == 1 and not METHODS[method].one_scan_only
        found[name] = "physical" if one_scan else method
    return found


def _where(names: Sequence[str], everywhere: bool) -> str:
    if everywhere:
        return "In each voxel"
    drawn = [name for name in names if name != REST]
    others = ["of no structure"] if REST in names else []
    return f"In the voxels {join_words([*(['of ' + join_words(drawn)] if drawn else []), *others])}"


def _voxels(method: str, names: Sequence[str], everywhere: bool, results: Findings) -> str:
    given = results.settings.kinetics.half_lives_h
    hours = [f"{'elsewhere' if name == REST else name} {three(given[name])} h" for name in names if name in given]
    return METHODS[method].sentence.format(
        where=_where(names, everywhere),
        how="solved exactly" if len(results.frames) == 2 else "fitted by least squares",
        half_lives=join_words(hours) if hours else "",
    )


def _choice(results: Findings) -> list[str]:
    chosen = {name: curve for name, curve in results.curves.items() if curve.choice is not None}
    if not chosen:
        return []
    whose = "each structure" if chosen.keys() >= {s.name for s in results.structures} else join_words([*chosen])
    compared = any(np.isfinite(curve.akaike_weight) for curve in chosen.values())
    if not compared:
        return ["The scans are too few to compare models by the corrected Akaike criterion: one exponential was used."]
    said = [
        f"Of {join_words(list(CANDIDATES))}, as far as the scans allow, the model of {whose} was the one of the "
        "largest Akaike weight (AICc)"
    ]
    asked = {METHODS[results.settings.kinetics.method(name)] for name in chosen}
    if any(method.by_number for method in asked):
        said[0] += ", where the marginal likelihood agrees with it"
    said[0] += f"; {_REST_WORDS}" if METHODS[results.settings.kinetics.method(REST)].voxels is None else "."
    if results.settings.kinetics.averaged:
        said.append("The structures' own integrals are means over the models, weighted by Akaike.")
    return said


def _average(results: Findings) -> list[str]:
    """What averaging over models did: models, priors, voxels."""
    averaged = {name: curve.average for name, curve in results.curves.items() if curve.average is not None}
    if not averaged:
        return []
    whose = join_words(["the remainder of the body" if name == REST else name for name in averaged])
    wide = [name for name, average in averaged.items() if average.prior.name.startswith("wide")]
    known = sorted({average.prior.name for name, average in averaged.items() if name not in wide})
    tracer = results.settings.kinetics.tracer
    priors = [f"published half-lives of {tracer} ({join_words(known)})"] if known else []
    if wide:
        reason = "" if tracer else ": no tracer was named"
        priors.append(f"wide priors chosen by this program for {join_words(wide)}{reason}")
    return [
        f"The time-integrated activity of {whose} is the median over curves of {join_words(list(FEW_SCAN_MODELS))}, "
        f"weighed by their marginal likelihood with weak priors of the rates ({'; '.join(priors)}; bayes); its "
        "uncertainty and its 95 % interval hold what noise, rates and the choice of a model leave open.",
        "Voxels took the leading model of their structure as far as their points allow (f3 for tri); those of no "
        "structure took one exponential each.",
    ]


def _borrowing(results: Findings) -> list[str]:
    said, settings = [], results.settings.kinetics
    if results.statuses.keys() & {FitStatus.GUIDED, FitStatus.GUIDED_TWO_RATES}:
        said.append(
            "Voxels of a structure borrowed the rates of its curve as far as their noise, estimated from the images, "
            "asked for (log-normal prior of the biological rates, its width by empirical Bayes)."
        )
    if settings.preserve_total:
        said.append(
            "The voxels of each structure were scaled to the integral of the structure's own curve, those of no "
            "structure to that of the remainder."
        )
    return said


def _structures(results: Findings) -> list[str]:
    if not results.structures:
        return []
    settings = results.settings.kinetics
    weights = "all points weighing the same"
    if settings.u_activity_percent is not None:
        weights = f"points weighed by a standard uncertainty of {three(settings.u_activity_percent)} % each, as given"
    averaged = [s.curve.average is not None for s in results.structures]
    if settings.u_activity_percent is None and any(averaged):
        assumed = f"points weighed by a standard uncertainty of {100 * ASSUMED_U:g} % each, assumed"
        weights = assumed if all(averaged) else f"{weights}; for averages over models {assumed}"
    said = [f"The curve of each structure went through its total activity at each scan, {weights}."]
    said += [f"The curves of {join_words(group)} had their rates in common." for group in settings.shared_rates]
    fitted = settings.intervals in _INTERVALS and not all(averaged)
    return [*said, *([_INTERVALS[settings.intervals]] if fitted else [])]


def _beds(results: Findings) -> list[str]:
    scans = [frame.id for frame in results.frames if frame.bed_by_bed]
    if not scans:
        return []
    return [f"In {join_words(scans)} slices were acquired one bed after the other: each voxel has the time of its own."]


def join_words(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
