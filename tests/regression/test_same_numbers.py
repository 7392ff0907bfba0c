"""A run again: the same bytes on this machine, the same numbers within bounds on more threads."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager

import numba
import numpy as np
import pytest
import torch

from dosimetry import run_patient
from dosimetry.config import load_settings
from nufitdose.io.nifti import load_volume
from nufitdose.volume import Quantity
from regression.measured import SAMPLES

TABLES = ("metrics.csv", "tac.csv", "uncertainty.csv", "dvh.csv")
OF_DOSE = 1e-4  # most that 1 and 2 threads may differ by, of the greatest dose; docs/faq.md states it


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(count)
    numba.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["rigid", pytest.param("nufit", marks=pytest.mark.long)])
def test_again_to_the_bit_and_on_two_threads_within_the_bound(tmp_path, engine):
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("numba was given one thread (NUMBA_NUM_THREADS)")
    for name, count in (("one", 1), ("again", 1), ("two", 2)):
        with threads(count):
            settings = load_settings(None, [f"registration.engine={engine}"])
            run_patient(SAMPLES["sample"], tmp_path / name, settings, device="cpu")
    for file in (*TABLES, "maps/dose.nii.gz", "maps/tia.nii.gz", "registered/tp2_field.nii.gz"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file
    one, two = (load_volume(tmp_path / name / "maps/dose.nii.gz", Quantity.DOSE).data for name in ("one", "two"))
    assert one.max() > 0
    assert np.abs(one - two).max() < OF_DOSE * one.max()
    mean = [[float(row["dose_mean_gy"]) for row in rows(tmp_path / name / "metrics.csv")] for name in ("one", "two")]
    assert mean[0] == pytest.approx(mean[1], rel=OF_DOSE)
