"""The weights that come with the program: on digital patients that no training has seen, by their true motion."""

import numpy as np
import pytest

from dosimetry.evaluation.motion import tissue_of
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.registration import register
from nufitdose.registration.network.weights import SHIPPED, load_network
from nufitdose.registration.quality import target_registration_error_mm


def test_the_weights_are_small_and_say_what_they_are():
    assert SHIPPED.stat().st_size < 16_000_000
    assert SHIPPED.with_name("README.md").is_file()
    assert load_network().model.settings.working_spacing_mm == 4.0


@pytest.mark.slow
@pytest.mark.parametrize("seed", [9001, pytest.param(9002, marks=pytest.mark.long)])
def test_the_network_alone_leaves_less_than_sixty_percent_of_the_affine_error(seed):
    patient = simulate_patient(PatientSettings(shape=(64, 64, 64), spacing_mm=6.0, times_h=[4.0, 24.0], seed=seed))
    fixed, moving = patient.study.timepoints
    marks = [m for m in patient.truth.landmarks if m.timepoint == moving.id]
    p, q = (np.array([getattr(m, f"{side}_mm") for m in marks]) for side in ("fixed", "moving"))
    organ = np.array([tissue_of(m.structure) in ("organ", "lung") for m in marks])
    seen = organ & fixed.activity.grid.contains(p) & moving.activity.grid.contains(q)
    error_mm = {}
    for name in ("affine", "network"):
        field = register(fixed, moving, engine=name, device="cpu").field
        error_mm[name] = target_registration_error_mm(field, p[seen], q[seen]).mean()
    assert field.jacobian_statistics().ndv_percent < 0.01
    assert error_mm["network"] < 0.6 * error_mm["affine"]
