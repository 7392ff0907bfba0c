import logging
from dataclasses import replace

import numpy as np
import pytest
from support.small_study import GRID, small_study

from dosimetry.plausibility import check_study
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.study import Study, TimePoint
from nufitdose.volume import Quantity, Volume


def said(caplog, study) -> str:
    with caplog.at_level(logging.WARNING):
        ct, grid = study.reference.ct, study.reference.activity.grid
        check_study(study, prepare_anatomy(ct, grid) if ct else None)
    return " | ".join(caplog.messages)


def with_activity(study: Study, factor: float, ct: Volume | None = None) -> Study:
    points = [
        TimePoint.of(tp.id, tp.time_h, tp.activity.with_data(tp.activity.data * np.float32(factor)), ct or tp.ct)
        for tp in study.timepoints
    ]
    return Study(study.patient, study.nuclide, study.administration, study.reference_id, tuple(points))


def test_a_sound_study_passes_in_silence(caplog):
    assert said(caplog, small_study()) == ""


def test_activity_beyond_a_short_ct_is_noticed(caplog):
    """The upper half of a sphere lies above the CT; a CT that leaves out empty slices alone is not spoken of."""
    study = small_study()
    hu = study.reference.ct.data
    half = Volume(hu[:, :, :5].copy(), replace(GRID, shape=(*GRID.shape[:2], 5)), Quantity.HU)
    assert "50 % of the activity lies beyond the CT" in said(caplog, with_activity(study, 1.0, half))
    caplog.clear()
    most = Volume(hu[:, :, :9].copy(), replace(GRID, shape=(*GRID.shape[:2], 9)), Quantity.HU)
    assert "beyond the CT" not in said(caplog, with_activity(study, 1.0, most))


def test_more_activity_than_was_given_is_noticed(caplog):
    assert "more than the" in said(caplog, with_activity(small_study(), 1e4))


def test_kilobecquerels_taken_for_becquerels_are_noticed(caplog):
    assert "check units" in said(caplog, with_activity(small_study(), 1e-3))


def displaced_ct(study: Study, share: float) -> Volume:
    """The CT of the reference, moved along z by a share of its length."""
    moved = np.array(GRID.affine)
    moved[:3, 3] -= share * GRID.shape[2] * moved[:3, 2]
    return Volume(study.reference.ct.data, Grid(GRID.shape, moved), Quantity.HU)


def test_a_ct_in_the_wrong_place_is_noticed(caplog):
    study = small_study()
    assert "stand in the same place" in said(caplog, with_activity(study, 1.0, displaced_ct(study, 0.7)))


def test_a_ct_that_shows_nothing_of_the_activity_stops_the_run(caplog):
    study = small_study()
    with pytest.raises(InputError, match="covers no voxel of the activity"):
        said(caplog, with_activity(study, 1.0, displaced_ct(study, 1.5)))


@pytest.mark.parametrize(("hours", "expected"), [((4.0,), "one time point"), ((4.0, 24.0), "2 time points")])
def test_curves_without_a_degree_of_freedom_are_named(caplog, hours, expected):
    assert expected in said(caplog, small_study(hours))


def test_progeny_left_out_are_named(caplog):
    study = small_study()
    iodine = Study("P", "I-131", study.administration, "tp1", study.timepoints)
    assert "Xe-131m" in said(caplog, iodine)
