"""How the time-activity curves of a run were made, in words to paste."""

from collections.abc import Mapping, Sequence

from dosimetry.config import REST
from dosimetry.curves.rules import ONE_SCAN
from dosimetry.curves.structures import CANDIDATES
from dosimetry.kinetics import FitStatus
from dosimetry.report.numbers import three
from dosimetry.results import PatientResults

_FITTED = {
    "mono": "a mono-exponential with non-negative amplitude and an effective half-life not above the physical one",
    "f3": "a curve of uptake and clearance from zero at administration (f3)",
    "f3a": "a clearing exponential and a retained part with physical decay (f3a)",
    "bi": "a sum of two clearing exponentials",
}
_RISING = (
    "Where activity rose, it was integrated linearly from zero at administration and between the points, with "
    "physical decay after the last."
)


def curve_sentences(results: PatientResults) -> list[str]:
    """What was fitted or assumed, in which voxels, and how the model was found."""
    settings = results.settings.kinetics
    by_model: dict[str, list[str]] = {}
    for name, curve in results.curves.items():
        method = settings.method(name)
        by_model.setdefault(curve.model if method == "auto" else method, []).append(name)
    if len(results.frames) == 1:
        methods = {"physical" if model not in ONE_SCAN else model: names for model, names in by_model.items()}
        said = [_from_one_scan(method, names, len(methods) == 1, results) for method, names in methods.items()]
        return [*said, *_beds(results)]
    said = [_voxels(model, names, len(by_model) == 1, len(results.frames)) for model, names in by_model.items()]
    said += [_RISING] if set(by_model) & set(_FITTED) else []
    return [*said, *_choice(results), *_borrowing(results), *_structures(results), *_beds(results)]


def _where(names: Sequence[str], everywhere: bool) -> str:
    if everywhere:
        return "In each voxel"
    drawn = [name for name in names if name != REST]
    others = ["of no structure"] if REST in names else []
    return f"In the voxels {listed([*(['of ' + listed(drawn)] if drawn else []), *others])}"


def _voxels(model: str, names: Sequence[str], everywhere: bool, scans: int) -> str:
    if model == "trapezoid":
        return (
            f"{_where(names, everywhere)} activity was integrated linearly from zero at administration and between "
            "the points (trapezoids), with physical decay after the last."
        )
    how = "solved exactly" if scans == 2 else "fitted by least squares"
    return f"{_where(names, everywhere)} {_FITTED[model]} was {how} and integrated to infinity."


def _from_one_scan(method: str, names: Sequence[str], everywhere: bool, results: PatientResults) -> str:
    where = _where(names, everywhere)
    if method == "haenscheid":
        return f"{where} the time-integrated activity was taken as 2 t A(t)/ln 2 from the one scan (Hänscheid 2018)."
    if method == "population":
        hours = results.settings.kinetics.half_lives_h
        listing = listed([f"{'elsewhere' if name == REST else name} {three(hours[name])} h" for name in names])
        return (
            f"{where} the one measurement was integrated with the effective half-life of a population "
            f"(Madsen 2018): {listing}."
        )
    return f"{where} physical decay through the one measurement was integrated to infinity."


def _choice(results: PatientResults) -> list[str]:
    chosen: Mapping[str, object] = {n: c for n, c in results.curves.items() if c.choice is not None}
    if not chosen:
        return []
    compared = any(c.choice is not None and len(c.choice.fits) > 1 for c in results.curves.values())
    if not compared:
        return ["The scans are too few to compare models by the corrected Akaike criterion: one exponential was used."]
    said = [
        f"Of {listed(list(CANDIDATES))}, as far as the scans allow, the model of each structure was the one of the "
        "largest Akaike weight (AICc); voxels of no structure took that of the whole body."
    ]
    if results.settings.kinetics.averaged:
        said.append("The structures' own integrals are means over the models, weighted by Akaike.")
    return said


def _borrowing(results: PatientResults) -> list[str]:
    said, settings = [], results.settings.kinetics
    if (results.maps.fit.status == FitStatus.GUIDED).any():
        said.append(
            "Voxels of one exponential borrowed the rate of their structure as far as their noise, estimated from the "
            "images, asked for (log-normal prior of the biological rate, empirical Bayes)."
        )
    if settings.preserve_total:
        said.append("The voxels of each structure were scaled to the integral of the structure's own curve.")
    return said


def _structures(results: PatientResults) -> list[str]:
    if not results.structures:
        return []
    percent = results.settings.kinetics.u_activity_percent
    weights = "all points weighing the same"
    if percent is not None:
        weights = f"points weighed by a standard uncertainty of {three(percent)} % each, as given"
    return [f"The curve of each structure went through its total activity at each scan, {weights}."]


def _beds(results: PatientResults) -> list[str]:
    scans = [frame.id for frame in results.frames if frame.offset_h is not None]
    if not scans:
        return []
    return [f"In {listed(scans)} slices were acquired one bed after the other: each voxel has the time of its own."]


def listed(words: Sequence[str]) -> str:
    """Words as a list in a sentence."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
