"""Organ doses of a published patient of the SNMMI Lu-177 Dosimetry Challenge, from the activities of its four scans.

Patient 004 (images doi:10.7302/864r-tb45) as PyTheranostics has it in its regression tests: activities, volumes, curves
and doses of one program, no consensus. The doses are those of voxels with a kernel of one density; here each organ is a
sphere of its own volume, which keeps nearly all that Lu-177's electrons carry. Programs differ by 7 % in the conversion
step, by up to 36 % in livers with lesions (J Nucl Med 2024;65:1166).
"""

import json

import numpy as np
import pytest

from dosimetry.dose import sphere_s_value
from dosimetry.kinetics import fit_organ
from nufitdose.nuclides import DECAYS_PER_MBQ_H, half_life_h

DENSITY_G_ML = 1.05  # liver and kidneys of ICRP Publication 110
ORGANS = ("Kidney_Left", "Kidney_Right", "Liver", "Spleen")


@pytest.fixture(scope="module")
def patient(real_data):
    return json.loads((real_data("physics") / "patients/snmmi_patient_004_reference.json").read_text())


@pytest.mark.parametrize("organ", ORGANS)
def test_organ_doses_within_five_percent(patient, organ):
    fit = fit_organ(np.array(patient["t_h"]), np.array(patient["A_MBq"][organ]), half_life_h("Lu-177"), model="f3")
    assert fit.tia_mbq_h == pytest.approx(patient["TIA_MBq_h"][organ], rel=1e-4)
    mass_g = DENSITY_G_ML * patient["volume_CT_mL_t0"][organ]
    dose_gy = fit.tia_mbq_h * DECAYS_PER_MBQ_H * sphere_s_value("Lu-177", mass_g, DENSITY_G_ML)
    assert dose_gy == pytest.approx(patient["AD_Gy"][organ], rel=0.05)
