"""The true dose of a digital patient is computed once, by transport, and lies in its folder."""

import numpy as np
import pytest

from dosimetry.dose import absorbed_dose
from dosimetry.evaluation import true_dose as module
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.errors import InputError
from nufitdose.phantom import PatientSettings, simulate_patient, write_patient


def test_the_true_dose_is_kept_and_agrees_with_the_kernels(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STATISTICAL_PERCENT", 4.0)
    patient = simulate_patient(
        PatientSettings(times_h=(24.0,), shape=(44, 36, 24), spacing_mm=9.0, tumours=1, tumour_sites=("liver",), seed=2)
    )
    folder = write_patient(patient, tmp_path / "patient")
    dose = module.true_dose(folder)
    assert (folder / "truth" / "dose.nii.gz").is_file()
    monkeypatch.setattr(module, "compute_true_dose", None)  # it is not computed again
    np.testing.assert_array_equal(module.true_dose(folder).data, dose.data)
    truth = patient.truth
    anatomy = prepare_anatomy(truth.ct, truth.tia.grid)
    kernel = absorbed_dose(truth.tia, nuclide="Lu-177", ct=anatomy).dose.data
    mass = anatomy.density.data * anatomy.takes_dose
    for label, name in truth.names.items():
        if name.startswith(("liver", "kidney", "spleen", "tumour")):
            weight = mass * (truth.labels.data == label)
            assert (dose.data * weight).sum() == pytest.approx((kernel * weight).sum(), rel=0.02), name


def test_a_study_without_truth_is_refused(tmp_path):
    with pytest.raises(InputError, match="no digital patient"):
        module.true_dose(tmp_path)
