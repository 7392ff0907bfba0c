"""What is told at the nodes: mirrored as the scans are, and the step that images ask for leads to their motion."""

import numpy as np
import pytest
import torch
from support.small_scans import scan

from nufitdose.registration.engines.refine import RefineSettings, prepare_pair
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.optimiser.evidence import ODD_ALONG, evidence_of
from nufitdose.registration.optimiser.images import Level, levels_of
from nufitdose.registration.pair import PairTensors

SETTINGS = RefineSettings(spacing_mm=4.0)
TERMS = ObjectiveSettings(weight_activity=SETTINGS.activity_weight)
SLOPES = slice(15, 18)  # the step that images ask for


@pytest.fixture(scope="module")
def pair() -> PairTensors:
    return prepare_pair(scan("a", still=False), scan("b", still=True), np.eye(4), SETTINGS).tensors


def level_of(pair: PairTensors) -> Level:
    return levels_of(pair, 1, TERMS, SETTINGS.volume)[0]


def mirrored(pair: PairTensors, axis: int) -> PairTensors:
    images = {name: getattr(pair, name).flip(axis + 2) for name in ("ct", "activity", "body", "weight_ct")}
    return PairTensors(**images, present=pair.present, spacing_mm=pair.spacing_mm)


@pytest.mark.parametrize("axis", range(3))
def test_mirrored_scans_have_mirrored_evidence(pair, axis):
    level = level_of(pair)
    u = np.random.default_rng(0).normal(0.0, 0.5, (3, *level.stiffness.shape)).astype(np.float32)
    there = np.flip(u, axis + 1).copy()
    there[axis] *= -1.0
    sign = np.array([-1.0 if axis in axes else 1.0 for axes in ODD_ALONG]).reshape(-1, 1, 1, 1)
    found = evidence_of(level_of(mirrored(pair, axis)), SETTINGS.misfit, there)
    wanted = sign * np.flip(evidence_of(level, SETTINGS.misfit, u), axis + 1)
    assert found.shape[0] == len(ODD_ALONG)
    np.testing.assert_allclose(found, wanted, atol=2e-3)


def test_scans_that_are_one_ask_for_no_step_and_are_not_apart(pair):
    alike = PairTensors(
        *(getattr(pair, name)[:, 1:].expand(-1, 2, -1, -1, -1) for name in ("ct", "activity")),
        present=pair.present,
        body=pair.body[:, 1:].expand(-1, 2, -1, -1, -1),
        weight_ct=pair.weight_ct,
        spacing_mm=pair.spacing_mm,
    )
    level = level_of(alike)
    found = evidence_of(level, SETTINGS.misfit, np.zeros((3, *level.stiffness.shape), np.float32))
    edges = found[18:21].max(axis=0) > 1.5  # of the bend
    assert edges.sum() > 50
    assert np.median(np.abs(found[SLOPES][:, edges])) < 0.05  # of voxels of 4 mm; more where there is only noise
    assert np.abs(found[[32, 41]]).max() < 0.02  # nothing but what reading by splines leaves


def test_the_step_leads_towards_the_motion(pair):
    """A shift of a third of a voxel is asked back where there are edges."""
    level = finest_level_shifted(pair, 1)
    still = np.zeros((3, *level.stiffness.shape), np.float32)
    found = evidence_of(level, SETTINGS.misfit, still)
    edges = found[18 + 1] > 1.5  # of the bend along the shift
    assert edges.sum() > 50
    step_mm = np.median(found[SLOPES][:, edges], axis=1)
    assert 0.4 < step_mm[1] / (4.0 / 3.0) < 1.3
    assert np.abs(step_mm[[0, 2]]).max() < 0.3


def finest_level_shifted(pair: PairTensors, axis: int) -> Level:
    """The fixed scan beside itself, shifted by a third of a voxel towards higher indices."""

    def beside(images: torch.Tensor) -> torch.Tensor:
        fixed = images[:, 1:].double()
        moved = (2.0 * fixed + fixed.roll(1, dims=axis + 2)) / 3.0
        return torch.cat([moved, fixed], dim=1).float()

    images = {name: beside(getattr(pair, name)) for name in ("ct", "activity")}
    return level_of(
        PairTensors(
            **images,
            present=pair.present,
            body=pair.body[:, 1:].expand(-1, 2, -1, -1, -1).contiguous(),
            weight_ct=pair.weight_ct,
            spacing_mm=pair.spacing_mm,
        )
    )
