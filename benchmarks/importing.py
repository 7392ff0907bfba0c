"""Seconds and memory of an import: four scans of a 512 x 512 x 400 CT and a 128 x 128 x 128 NM object.

python -m benchmarks.importing [SCANS]
"""

import resource
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np

from nufitdose.grid import Grid
from nufitdose.io.dicom.write.study import write_dicom_study
from nufitdose.study import Administration, Study, TimePoint
from nufitdose.volume import Quantity, Volume

_ADMINISTERED_AT = datetime(2024, 5, 6, 9, 0)
_TIMES_H = (4.0, 24.0, 72.0, 168.0)


def volume(shape: tuple[int, int, int], spacing_mm: float, quantity: Quantity, low: float, high: float) -> Volume:
    """Noise of a scanner's range on a grid about the origin, which no compression makes smaller."""
    affine = np.diag([spacing_mm] * 3 + [1.0])
    affine[:3, 3] = [-spacing_mm * (n - 1) / 2 for n in shape]
    chance = np.random.default_rng(1)
    return Volume(chance.uniform(low, high, shape).astype(np.float32), Grid(shape, affine), quantity)


def study(scans: int) -> Study:
    """Scans that differ in time alone."""
    ct = volume((512, 512, 400), 0.98, Quantity.HU, -1000.0, 1000.0)
    activity = volume((128, 128, 128), 3.9, Quantity.ACTIVITY, 0.0, 2000.0)
    points = [TimePoint.of(f"tp{n + 1}", _TIMES_H[n], activity, ct, None) for n in range(scans)]
    return Study("bench", "Lu-177", Administration(7400.0, _ADMINISTERED_AT), "tp1", tuple(points))


def main() -> None:
    scans = int(sys.argv[1]) if len(sys.argv) > 1 else len(_TIMES_H)
    with tempfile.TemporaryDirectory() as place:
        dicom, out = Path(place) / "dicom", Path(place) / "study"
        write_dicom_study(study(scans), dicom, _ADMINISTERED_AT, activity="NM")
        command = [sys.executable, "-c", "from nufitdose.cli import main; main()", "import", dicom, "--out", out]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        wall = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"import of {scans} scans: {wall:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of processors, "
        f"{used.ru_maxrss / 1e6:.2f} GB"
    )


if __name__ == "__main__":
    main()
