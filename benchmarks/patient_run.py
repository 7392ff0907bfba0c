"""Seconds and memory of a patient run: import and dosimetry of the real two-point patient, where it is present.

python -m benchmarks.patient_run
"""

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from dosimetry import run_patient
from nufitdose.io.importer.planning import plan_import, write_study

DATA = Path(os.environ.get("NUFITDOSE_DATA") or Path(__file__).parents[1] / "../shared/data") / "lu177_dotatate_2tp"


def main() -> None:
    if not DATA.is_dir():
        print(f"patient run: skipped, {DATA.name} is not there (NUFITDOSE_DATA)")
        return
    with tempfile.TemporaryDirectory() as place:
        study, started = Path(place) / "study", time.perf_counter()
        study.mkdir()
        write_study(plan_import(DATA), study)
        imported = time.perf_counter()
        run_patient(study, Path(place) / "out", stream=sys.stderr)
        done = time.perf_counter()
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds = f"import {imported - started:.1f} s, dosimetry {done - imported:.1f} s"
    print(f"patient run, 2 x 256 x 256 x 199: {seconds}, {peak_gb:.1f} GB")


if __name__ == "__main__":
    main()
