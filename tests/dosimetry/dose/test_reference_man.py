"""S values of the ICRP 110 reference man against those of OpenDose for the same voxels."""

import re

import nibabel as nib
import numpy as np
import pytest

from dosimetry.config import DoseSettings
from dosimetry.dose import absorbed_dose
from nufitdose.anatomy.composition import SCHNEIDER_PERCENT, SOFT_TISSUE
from nufitdose.anatomy.prepared import PreparedAnatomy
from nufitdose.grid import Grid
from nufitdose.volume import Quantity, Volume

ORGANS = {
    "liver": (95,),
    "spleen": (127,),
    "left kidney": (89, 90, 91),
    "right kidney": (92, 93, 94),
    "pancreas": (113,),
    "stomach wall": (72,),
    "left lung": (96, 97),
    "right lung": (98, 99),
    "thoracic spine, cortical": (48,),
}
#: mGy/(MBq·s), Lu-177: OpenDose (Chauvin et al., J Nucl Med 2020;61:1514, doi:10.2967/jnumed.119.240366) for ICRP 110
#: AM, as quoted in dsarrut/rpt_dosi (`rpt_dosi/data/ICRP_110_AM`). Cross values are photons' alone.
OPENDOSE = {
    "liver": {
        "liver": 1.3713e-5, "right kidney": 2.2932e-7, "left kidney": 4.7165e-8, "spleen": 4.1688e-8,
        "pancreas": 2.4241e-7, "stomach wall": 1.5565e-7, "right lung": 1.4830e-7, "left lung": 3.1028e-8,
    },
    "spleen": {
        "spleen": 1.5967e-4, "left kidney": 3.4350e-7, "right kidney": 2.7560e-8, "liver": 4.1262e-8,
        "pancreas": 8.4903e-8, "stomach wall": 2.4956e-7, "left lung": 2.4078e-7, "right lung": 2.9904e-8,
    },
    "left kidney": {
        "left kidney": 1.5662e-4, "spleen": 3.4509e-7, "liver": 4.6791e-8, "pancreas": 1.7598e-7,
        "right kidney": 5.4199e-8, "stomach wall": 1.5575e-7, "left lung": 4.8520e-8,
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def man(real_data):
    """Labels of the trunk, its anatomy, and its grid."""
    folder = real_data("icrp110_am")
    image = nib.load(folder / "AM_organs.nii.gz")
    labels = np.asarray(image.dataobj)[:, :, 105:195]
    density, medium = np.full(256, 0.0012, np.float32), np.full(256, 53)
    for line in (folder / "AM_organs.dat").read_text("latin-1").splitlines():
        if found := re.match(r"\s*(\d+)\s+.+?\s+(\d+)\s+([\d.]+)\s*$", line):
            density[int(found[1])], medium[int(found[1])] = float(found[3]), int(found[2])
    calcium = np.zeros(54)
    for line in (folder / "AM_media.dat").read_text("latin-1").splitlines():
        if found := re.match(r"\s*(\d+)\s+.+?\s+((?:[\d.]+\s+){12}[\d.]+)\s*$", line):
            calcium[int(found[1])] = float(found[2].split()[10])
    nearest = abs(SCHNEIDER_PERCENT[None, :, -1] - calcium[medium][:, None]).argmin(axis=1)
    row = np.where(calcium[medium] > 2.0, nearest, SOFT_TISSUE)
    row[density < 0.6] = 1
    row[density < 0.01] = 0
    grid = Grid.from_spacing(labels.shape, tuple(float(side) for side in image.header.get_zooms()[:3]))
    inside = (labels > 0) & (labels != 140)
    anatomy = PreparedAnatomy(
        inside.astype(np.float32),
        inside,
        Volume(density[labels], grid, Quantity.DENSITY),
        row.astype(np.uint8)[labels],
    )
    return labels, anatomy, grid


def s_values(man, source, nuclide, engine):
    """mGy/(MBq·s) to every organ from one."""
    labels, anatomy, grid = man
    where = np.isin(labels, ORGANS[source])
    tia = Volume(where.astype(np.float32), grid, Quantity.TIA)
    decays = where.sum() * grid.voxel_volume_ml * 3600.0
    settings = DoseSettings(statistical_percent=4.0)
    dose = absorbed_dose(tia, nuclide=nuclide, engine=engine, ct=anatomy, settings=settings).dose.data
    mass = anatomy.density.data
    organs = {name: np.isin(labels, numbers) for name, numbers in ORGANS.items()}
    return {name: float((dose * mass)[at].sum() / mass[at].sum()) / decays * 1e9 for name, at in organs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("source", OPENDOSE)
def test_lutetium_s_values_are_those_of_opendose(man, source):
    found = s_values(man, source, "Lu-177", "montecarlo")
    for target, published in OPENDOSE[source].items():
        assert found[target] == pytest.approx(published, rel=0.01 if target == source else 0.10), target


def test_kernels_give_the_self_dose_and_near_organs(man):
    """Far organs get photons scattered again and again, whose share `scatter` estimates."""
    found = s_values(man, "liver", "Lu-177", "kernel")
    for target in ("liver", "right kidney", "pancreas", "stomach wall"):
        assert found[target] == pytest.approx(OPENDOSE["liver"][target], rel=0.03), target
