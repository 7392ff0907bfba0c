"""One method on one digital patient: every pair judged, and what follows for the doses of its structures."""

import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from dosimetry.config import DosimetrySettings
from dosimetry.evaluation.downstream import StructureScore, judge_structures
from dosimetry.evaluation.methods import EXACT, Method, true_field
from dosimetry.evaluation.motion import field_error_mm, landmark_errors_mm
from nufitdose.anatomy.body import body_mask
from nufitdose.device import resolve_device
from nufitdose.errors import InputError
from nufitdose.io.study_folder import load_study
from nufitdose.io.truth import Landmarks, read_landmarks
from nufitdose.jobs.memory import peak_mb
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.quality import registration_quality
from nufitdose.registration.structure_quality import mean_over, structure_agreement
from nufitdose.study import Study, TimePoint

#: Local deposition, of the truth and of what is judged: registrations differ in their activities, not in transport.
_SETTINGS = DosimetrySettings.model_validate({"dose": {"engine": "local"}})


@dataclass(frozen=True)
class PairScore:
    """One method on one pair; NaN where a number is not known.

    `seconds` hold everything from the images in memory to the field, a start included, `memory_mb` is the most that
    the process held until then (0: not measured). Errors over landmarks by tissue, `field_mm` the mean error of the
    field in the body; `dice` and `hd95_mm` means over structures drawn on both scans; the others as in
    `RegistrationQuality`.
    """

    method: str
    patient: str
    nuclide: str
    fixed: str
    moving: str
    seconds: float
    memory_mb: float
    organ_mm: float
    tumour_mm: float
    bone_mm: float
    lung_mm: float
    field_mm: float
    dice: float
    hd95_mm: float
    ssim: float
    wssim: float
    lncc: float
    mi: float
    nmi: float
    jacobian_min: float
    jacobian_max: float
    sd_log_jacobian: float
    folding_percent: float
    ndv_percent: float
    inverse_consistency_mm: float
    activity_change_percent: float


@dataclass(frozen=True)
class PatientScore:
    """All that one method did on one patient."""

    pairs: tuple[PairScore, ...]
    structures: tuple[StructureScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "PatientScore":
        """What `to_dict` wrote."""
        return cls(
            tuple(PairScore(**row) for row in content["pairs"]),
            tuple(StructureScore(**row) for row in content["structures"]),
        )


def judge_patient(
    method: Method, folder: Path, *, downstream: bool, device: str = "auto", own_process: bool = False
) -> PatientScore:
    """Run a method on every moving scan of the digital patient in `folder`, and judge it by `truth/`.

    `own_process` says that nothing else has used the memory of this process. Raises `InputError` without truth.
    """
    study, marks = load_study(folder), read_landmarks(folder)
    if marks is None:
        raise InputError("this is no digital patient (no truth/)", where=folder)
    network, on = method.load_network(), resolve_device(device)
    fixed, found, pairs = study.reference, {}, []
    for moving in study.timepoints:
        if moving is fixed:
            continue
        _load(fixed, moving)
        start = time.perf_counter()
        field = method.find_field(folder, fixed, moving, fixed.activity.grid, on, network)
        seconds = time.perf_counter() - start
        memory_mb = peak_mb() if own_process else 0.0
        found[moving.id] = field
        pairs.append(_judge_pair(method, study, moving, field, marks, folder, (seconds, memory_mb)))
    rows = judge_structures(method.name, folder, study, found, _SETTINGS) if downstream else []
    return PatientScore(tuple(pairs), tuple(rows))


def _load(*scans: TimePoint) -> None:
    """Read the images, so that reading them is nobody's time."""
    for scan in scans:
        _ = scan.activity, scan.ct


def _judge_pair(
    method: Method,
    study: Study,
    moving: TimePoint,
    field: DisplacementField,
    marks: Landmarks,
    folder: Path,
    cost: tuple[float, float],
) -> PairScore:
    fixed = study.reference
    inside = body_mask(fixed).resampled_to(field.grid).data > 0.5
    quality = asdict(registration_quality(fixed, moving, field))
    both = fixed.structures is not None and moving.structures is not None
    agreement = structure_agreement(fixed.structures, moving.structures, field) if both else ()  # type: ignore[arg-type]
    exact = true_field(folder, moving.id)
    return PairScore(
        method=method.name,
        patient=study.patient,
        nuclide=study.nuclide,
        fixed=fixed.id,
        moving=moving.id,
        seconds=0.0 if method.engine == EXACT else cost[0],
        memory_mb=cost[1],
        **landmark_errors_mm(field, fixed, moving, marks),
        field_mm=field_error_mm(field, exact, moving, inside),
        dice=mean_over(agreement, "dice_after"),
        hd95_mm=mean_over(agreement, "hd95_after_mm"),
        **{one.name: quality[one.name] for one in fields(PairScore) if one.name in quality},
    )
