"""Makes the digital reference patients; run again only to replace one, with a line in CHANGELOG.md.

    python tests/regression/make_sample.py sample_study|iodine_study

On coarse voxels: three Lu-177 SPECT/CT scans; three of I-131, whose scanner is described, so that recovery is
corrected. Rounded, so that the folders stay small.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from nufitdose.io.study_folder import save_study
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.study import Study, TimePoint

HERE = Path(__file__).parent
_COARSE = PatientSettings(
    tracer="Lu-177-DOTATATE",
    times_h=(4.0, 24.0, 120.0),
    shape=(48, 36, 40),
    spacing_mm=8.0,
    ct_spacing_mm=8.0,
    seed=11,
    tumours=2,
    patient="sample",
)
_IODINE = replace(_COARSE, tracer="I-131-NaI", times_h=(24.0, 48.0, 120.0), seed=12, tumours=1, patient="iodine")


def main(name: str) -> None:
    patient = simulate_patient({"sample_study": _COARSE, "iodine_study": _IODINE}[name]).study
    points = tuple(rounded(timepoint) for timepoint in patient.timepoints)
    study = Study(patient.patient, patient.nuclide, patient.administration, patient.reference_id, points)
    if name == "iodine_study":
        study = replace(study, scanner=patient.scanner, tracer=patient.tracer)
    (HERE / name).mkdir(exist_ok=True)
    save_study(study, HERE / name)


def rounded(timepoint: TimePoint) -> TimePoint:
    """Activity to 1/2000 of the maximum, CT to whole HU: what the scanner's noise hides anyway."""
    activity = timepoint.activity
    step = float(activity.data.max()) / 2000.0
    return TimePoint.of(
        timepoint.id,
        timepoint.time_h,
        activity.with_data(np.rint(activity.data / step).astype(np.float32) * np.float32(step)),
        timepoint.ct.with_data(np.rint(timepoint.ct.data)),
        timepoint.structures,
    )


if __name__ == "__main__":
    main(sys.argv[1])
