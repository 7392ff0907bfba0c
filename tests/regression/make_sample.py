"""Makes tests/regression/sample_study once; run again only to replace it, with a line in CHANGELOG.md.

    python tests/regression/make_sample.py

A digital patient on coarse voxels: three Lu-177 SPECT/CT scans, rounded so that the folder stays small.
"""

from pathlib import Path

import numpy as np

from nufitdose.io.study_folder import save_study
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.study import Study, TimePoint

FOLDER = Path(__file__).parent / "sample_study"


def main() -> None:
    patient = simulate_patient(
        PatientSettings(
            tracer="Lu-177-DOTATATE",
            times_h=(4.0, 24.0, 120.0),
            shape=(48, 36, 40),
            spacing_mm=8.0,
            ct_spacing_mm=8.0,
            seed=11,
            tumours=2,
            patient="sample",
        )
    ).study
    points = tuple(rounded(timepoint) for timepoint in patient.timepoints)
    study = Study(patient.patient, patient.nuclide, patient.administration, patient.reference_id, points)
    FOLDER.mkdir(exist_ok=True)
    save_study(study, FOLDER)


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
    main()
