"""A light for every registered pair: good, check or failed, and one sentence that says why.

Every limit stands in `LIMITS` with its source. Where the literature names none, the limit was chosen here and says so:
it points to what to look at, it accepts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nufitdose.registration.quality import RegistrationQuality
from nufitdose.registration.structure_quality import StructureAgreement, StructureTransport

_TG_132 = "AAPM TG-132, doi:10.1002/mp.12256"
_HERE = "chosen here"


class PairState(StrEnum):
    """How a pair stands; the value is its word in registration.csv."""

    GOOD = "good"
    CHECK = "check"
    FAILED = "failed"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Limit:
    """A measure is good up to `good` and failed beyond `failed` (None: it never fails alone).

    `falls` says that lower is worse. `says` names the measure in a sentence, `source` where the limit `good` comes
    from; the limits `failed` were chosen here.
    """

    measure: str
    good: float
    failed: float | None
    unit: str
    says: str
    source: str
    falls: bool = False

    def state(self, value: float) -> PairState:
        """Where a value stands."""
        worse, good, failed = (-value, -self.good, self.failed) if self.falls else (value, self.good, self.failed)
        if not np.isfinite(value):
            return PairState.UNKNOWN
        if failed is not None and worse > (-failed if self.falls else failed):
            return PairState.FAILED
        return PairState.CHECK if worse > good else PairState.GOOD

    def sentence(self, value: float, where: str = "") -> str:
        """What was found against the limit, in words."""
        bound = f"at least {self.good:g}" if self.falls else f"at most {self.good:g}"
        unit = f" {self.unit}" if self.unit else ""
        return f"{self.says}{where} is {value:.3g}{unit}, {bound}{unit} is expected ({self.source})"


LIMITS = {
    limit.measure: limit
    for limit in (
        Limit("overlap_percent", 80.0, 30.0, "%", "the part of the reference body that the scan shows", _HERE, True),
        Limit("similarity_gain", -0.02, -0.10, "", "the gain in likeness over the scans as they lay", _HERE, True),
        Limit("gain_over_rigid", -0.02, -0.10, "", "the gain in likeness over the rigid motion alone", _HERE, True),
        Limit("folding_percent", 0.0, 1.0, "%", "the part of the body that the field folds", _TG_132),
        Limit("ndv_percent", 0.01, 1.0, "%", "the non-diffeomorphic volume", "doi:10.1007/s11263-024-02047-1"),
        Limit("jacobian_beyond_percent", 1.0, 10.0, "%", "tissue halved or doubled (Jacobian beyond 0.5-2)", _HERE),
        Limit("inverse_consistency_mm", 3.0, None, "mm", "the distance after going there and back", _TG_132),
        Limit("tre_mm", 3.0, 10.0, "mm", "the mean error over landmarks", _TG_132),
        Limit("activity_change_percent", 5.0, None, "%", "the change of the total activity", _HERE),
        Limit("centroid_mm", 6.0, 15.0, "mm", "the distance of the centroids", _HERE),
        Limit("dice", 0.8, None, "", "the mean Dice of the structures", _TG_132, True),
        Limit("hd95_mm", 10.0, None, "mm", "the mean HD95 of the structures", _HERE),
        Limit("u_registration_mm", 4.0, None, "mm", "the uncertainty of the displacement", _HERE),
    )
}  # fmt: skip

_ORDER = (PairState.FAILED, PairState.CHECK, PairState.GOOD)


@dataclass(frozen=True)
class PairLight:
    """The state of a pair and why, in one sentence."""

    state: PairState
    why: str


def judge_pair(
    quality: RegistrationQuality,
    unregistered: RegistrationQuality,
    rigid: RegistrationQuality | None = None,
    agreement: Sequence[StructureAgreement] = (),
    transport: Sequence[StructureTransport] = (),
) -> PairLight:
    """The worst of all measures that are known decides; the first of them in the order of `LIMITS` is named."""
    found = _values(quality, unregistered, rigid, agreement, transport)
    states = [(LIMITS[measure].state(value), measure, value, where) for measure, value, where in found]
    known = [row for row in states if row[0] is not PairState.UNKNOWN]
    if not any(row[1] not in _OF_THE_FIELD for row in known):
        return PairLight(PairState.UNKNOWN, "the scans have nothing in common by which the registration can be judged")
    for wanted in _ORDER[:2]:
        for state, measure, value, where in known:
            if state is wanted:
                return PairLight(state, LIMITS[measure].sentence(value, where))
    return PairLight(PairState.GOOD, f"all {len(known)} measures that are known lie within their limits")


_OF_THE_FIELD = ("folding_percent", "ndv_percent", "jacobian_beyond_percent", "inverse_consistency_mm")


def _values(
    quality: RegistrationQuality,
    unregistered: RegistrationQuality,
    rigid: RegistrationQuality | None,
    agreement: Sequence[StructureAgreement],
    transport: Sequence[StructureTransport],
) -> list[tuple[str, float, str]]:
    """Measure, value and, for structures, which of them, in the order of `LIMITS`."""
    centroid, of = _worst([(row.centroid_after_mm, row.structure) for row in agreement])
    u_mm, most = _worst([(row.u_registration_mm, row.structure) for row in transport])
    values = {
        "similarity_gain": (quality.lncc - unregistered.lncc, ""),
        "gain_over_rigid": (quality.lncc - rigid.lncc if rigid else np.nan, ""),
        "activity_change_percent": (abs(quality.activity_change_percent), ""),
        "centroid_mm": (centroid, f" of {of}"),
        "dice": (_mean([row.dice_after for row in agreement]), ""),
        "hd95_mm": (_mean([row.hd95_after_mm for row in agreement]), ""),
        "u_registration_mm": (u_mm, f" in {most}"),
    }
    return [
        (measure, *values[measure]) if measure in values else (measure, float(getattr(quality, measure)), "")
        for measure in LIMITS
    ]


def _worst(rows: list[tuple[float, str]]) -> tuple[float, str]:
    return max(((value, name) for value, name in rows if np.isfinite(value)), default=(np.nan, ""))


def _mean(values: list[float]) -> float:
    kept = [value for value in values if np.isfinite(value)]
    return float(np.mean(kept)) if kept else np.nan
