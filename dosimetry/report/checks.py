"""The lights of the run as a whole, each with its number and the value it is held against.

The limits are guide values of this program without published authority, except where a light cannot be
right at all (more activity seen than administered, a registration that made things worse).
"""

from collections.abc import Sequence

import numpy as np

from dosimetry.curves.methods import FITTED_STATUSES
from dosimetry.findings import Findings
from dosimetry.kinetics import FitStatus
from dosimetry.kinetics.averaged_curve import RED_LIMIT
from dosimetry.lights.structures import CENTROID_MM, OUTSIDE_PERCENT, TAIL_PERCENT, activity_balance
from dosimetry.lights.values import Light, State
from dosimetry.report.numbers import percent, three
from dosimetry.results import StructureResult

FOLDING_PERCENT = 0.0
WARPED_ACTIVITY_PERCENT = 5.0
FITTED_PERCENT = 80.0
HALF_LIVES_COVERED = 3.0


def lights(results: Findings) -> tuple[Light, ...]:
    """All lights in reading order."""
    return (
        _registration(results),
        _folding(results),
        _fit(results),
        activity_balance(results),
        _tail(results),
        _coverage(results),
    )


def _registration(results: Findings) -> Light:
    topic, guide = "Registration", f"structure centroids within {CENTROID_MM:g} mm"
    moved = [frame for frame in results.frames if frame.registration is not None]
    if not moved:
        return Light(topic, State.UNKNOWN, "one time point: nothing to register", guide)
    rows = [(row, frame.id) for frame in moved for row in frame.agreement if np.isfinite(row.centroid_after_mm)]
    if not rows:
        return _similarity(results, topic)
    worst, where = max(rows, key=lambda pair: pair[0].centroid_after_mm)
    found = (
        f"largest centroid distance {three(worst.centroid_after_mm, 2)} mm ({worst.structure}, {where}), "
        f"{three(worst.centroid_before_mm, 2)} mm before"
    )
    worse = [row for row, _ in rows if row.centroid_after_mm > max(CENTROID_MM, row.centroid_before_mm)]
    state = State.BAD if worse else State.GOOD if worst.centroid_after_mm <= CENTROID_MM else State.LOOK
    return Light(topic, state, found, guide)


def _similarity(results: Findings, topic: str) -> Light:
    """Without structures on the other scans: whether the pictures became more alike."""
    pairs = [(f.registration, f.id) for f in results.frames if f.registration is not None]
    worst, where = min(pairs, key=lambda pair: pair[0].quality.lncc - pair[0].unregistered.lncc)
    before, after = worst.unregistered.lncc, worst.quality.lncc
    found = f"no structures on the other scans; local correlation {three(before, 2)} to {three(after, 2)} ({where})"
    guide = "local correlation rises"
    if not (np.isfinite(before) and np.isfinite(after)):
        return Light(topic, State.UNKNOWN, found, guide)
    return Light(topic, State.GOOD if after >= before else State.BAD, found, guide)


def _folding(results: Findings) -> Light:
    topic = "Field of displacement"
    guide = f"no folding; activity kept within {WARPED_ACTIVITY_PERCENT:g} %"
    qualities = [(f.registration.quality, f.id) for f in results.frames if f.registration is not None]
    if not qualities:
        return Light(topic, State.UNKNOWN, "one time point: no field", guide)
    folding = max(quality.folding_percent for quality, _ in qualities)
    change, where = max(
        ((quality.activity_change_percent, name) for quality, name in qualities), key=lambda pair: abs(pair[0])
    )
    found = f"{percent(folding)} of the voxels folded; activity changed by up to {percent(change)} ({where})"
    if folding > FOLDING_PERCENT:
        return Light(topic, State.BAD if folding > 1.0 else State.LOOK, found, guide)
    return Light(topic, State.GOOD if abs(change) <= WARPED_ACTIVITY_PERCENT else State.LOOK, found, guide)


def _fit(results: Findings) -> Light:
    guide = f"fitted exponentials in at least {FITTED_PERCENT:g} % of the voxels"
    if results.structures:
        volumes = [s.region.volume_ml for s in results.structures]
        shares = {
            status: float(
                np.average([s.status_percent.get(status.name, 0.0) for s in results.structures], weights=volumes)
            )
            for status in FitStatus
        }
        where = "of the structures' volume"
    else:
        counts = {s: n for s, n in results.statuses.items() if s is not FitStatus.NOTHING}
        total = sum(counts.values())
        shares = {status: 100.0 * n / total for status, n in counts.items()}
        where = "of the active voxels"
    fitted = sum((share for status, share in shares.items() if status in FITTED_STATUSES), 0.0)
    others = {s: share for s, share in shares.items() if s not in FITTED_STATUSES and share >= 0.05}
    rest = "; ".join(f"{percent(share)} {short(s)}" for s, share in sorted(others.items(), key=lambda o: -o[1]))
    found = f"{percent(fitted)} {where} by fitted exponentials" + (f"; {rest}" if rest else "")
    state = State.GOOD if fitted >= FITTED_PERCENT else State.LOOK
    averages = {s.name: s.curve.average for s in results.structures if s.curve.average is not None}
    red = [f"{name} ({average.red})" for name, average in averages.items() if average.red]
    if averages:
        guide += f"; integrals told to ± {100.0 * RED_LIMIT:.0f} %"
    if red:
        state, found = State.BAD, f"{found}; not to rely on: {', '.join(red)}"
    return Light("Voxel curves", state, found, guide)


def short(status: FitStatus) -> str:
    """The status in a word or two."""
    return status.name.replace("_", " ").lower()


def _tail(results: Findings) -> Light:
    guide = f"at most {TAIL_PERCENT[0]:g} % of TIA after the last scan, which is past {HALF_LIVES_COVERED:g} T_eff"
    known = [s for s in results.structures if np.isfinite(s.fit.extrapolated_fraction)]
    if not known:
        return _tail_of_map(results, guide)
    worst = max(known, key=lambda s: s.fit.extrapolated_fraction)
    share = 100.0 * worst.fit.extrapolated_fraction
    covered = half_lives_covered(worst)
    found = f"up to {percent(share)} ({worst.name}, last scan at {three(covered, 2)} T_eff)"
    fewest = min(half_lives_covered(s) for s in known)
    if share > TAIL_PERCENT[1]:
        return Light("Extrapolation", State.BAD, f"{found}: most of it was not measured", guide)
    good = share <= TAIL_PERCENT[0] and fewest >= HALF_LIVES_COVERED
    return Light("Extrapolation", State.GOOD if good else State.LOOK, found, guide)


def _tail_of_map(results: Findings, guide: str) -> Light:
    """Without structures: the share in the TIA of the whole map."""
    share = 100.0 * results.extrapolated_fraction
    if np.isnan(share):
        return Light("Extrapolation", State.UNKNOWN, "no activity", guide)
    state = State.GOOD if share <= TAIL_PERCENT[0] else State.LOOK
    state = State.BAD if share > TAIL_PERCENT[1] else state
    return Light("Extrapolation", state, f"{percent(share)} of the TIA of the whole map", guide)


def half_lives_covered(result: StructureResult) -> float:
    """The time of the structure's last measured point in its effective half-lives."""
    measured: Sequence[float] = result.curve.times_h[np.isfinite(result.curve.activity_mbq)].tolist()
    return measured[-1] / result.fit.teff_h if measured else float("nan")


def _coverage(results: Findings) -> Light:
    guide = f"at least {100 - OUTSIDE_PERCENT[0]:g} % of every structure on every scan"
    if not results.structures:
        return Light("Structures in view", State.UNKNOWN, "no structures given", guide)
    outside = [(100.0 * s.region.outside_ml / s.volume_ml, s.name) for s in results.structures]
    worst, name = max(outside)
    missing = {s.name: int(np.isnan(s.curve.activity_mbq).sum()) for s in results.structures}
    cut = [(name, times) for name, times in missing.items() if times]
    parts = [f"{percent(worst)} of {name} beyond the reference scan" if worst > 0 else "all within the reference scan"]
    if cut:
        parts.append("cut by another scan's view: " + ", ".join(f"{n} ({times}×)" for n, times in cut))
    if worst > OUTSIDE_PERCENT[0]:
        state = State.BAD if worst > OUTSIDE_PERCENT[1] else State.LOOK
    else:
        state = State.LOOK if cut else State.GOOD
    return Light("Structures in view", state, "; ".join(parts), guide)
