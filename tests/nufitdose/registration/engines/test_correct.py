"""`nufit` corrects what it optimised between CTs, with the settings that this was learned with, and nothing else."""

import numpy as np
import pytest
import torch
from support.small_scans import GRID, scan

from nufitdose.registration.engines.correct import corrected, predicted
from nufitdose.registration.engines.deformable import NUFIT
from nufitdose.registration.engines.engine import Request
from nufitdose.registration.engines.refine import RefineSettings, field_mm, finest_level, prepare_pair, refine
from nufitdose.registration.network import NetworkSettings, NufitReg
from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.registration.objective import ObjectiveSettings
from nufitdose.registration.optimiser.newton import Objective, Smoothness
from nufitdose.registration.optimiser.on_processor import OnProcessor

SHIFT_MM = (0.3, -0.2, 0.1)


@pytest.fixture(scope="module")
def shifts() -> NufitReg:
    """A network that finds nothing, and corrects by one shift everywhere."""
    torch.manual_seed(0)
    model = NufitReg(NetworkSettings(encoder="unet", passes=1, working_spacing_mm=8.0, correction=8)).eval()
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.zero_()
        model.correction.head.bias.copy_(torch.tensor(SHIFT_MM))
    return model


def test_a_correction_counts_in_millimetres():
    settings = RefineSettings(spacing_mm=4.0)
    pair = prepare_pair(scan("a", still=False), scan("b", still=True), np.eye(4), settings)
    level = finest_level(pair, settings, ObjectiveSettings())
    network = FieldCorrection(8)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor(SHIFT_MM))
    u = np.random.default_rng(0).normal(0.0, 0.3, (3, *level.stiffness.shape)).astype(np.float32)
    moved_mm = 4.0 * predicted(level, settings.misfit, u, network)
    np.testing.assert_allclose(moved_mm, np.broadcast_to(np.reshape(SHIFT_MM, (3, 1, 1, 1)), u.shape), atol=1e-5)


def test_images_take_back_a_correction_that_is_wrong():
    """A shift of 2 mm of all that is seen is undone by half and more, without squeezing what is active."""
    settings = RefineSettings(spacing_mm=4.0)
    pair, found = refine(scan("a", still=False), scan("b", still=True), np.eye(4), settings=settings)
    level = finest_level(pair, settings, ObjectiveSettings())
    network = FieldCorrection(8)
    with torch.no_grad():
        network.head.bias.copy_(torch.tensor((2.0, 0.0, 0.0)))
    objective = Objective(OnProcessor(level), Smoothness(settings.smoothness, settings.bending_mm), settings.misfit)
    left_mm = 4.0 * (corrected(objective, found.displacement, network) - found.displacement)
    bright = level.volume > 0.2 * level.volume.max()
    assert np.abs(np.median(left_mm[:, bright], axis=1)).max() < 1.0


def test_a_correction_that_folds_is_taken_in_part_or_not_at_all():
    """Neighbouring nodes sent 24 mm apart and back again: the field of nufit has no folds all the same."""

    class Torn(FieldCorrection):
        def forward(self, evidence):
            out = torch.zeros((1, 3, *evidence.shape[2:]))
            out[:, 0, ::6] = 24.0
            return out

    settings = RefineSettings(spacing_mm=4.0)
    pair, found = refine(
        scan("a", still=False), scan("b", still=True), np.eye(4), settings=settings, correction=Torn(4)
    )
    assert field_mm(found, pair).jacobian_statistics().minimum > 0.0
    assert found.after <= found.before


@pytest.mark.parametrize("ct", [True, False])
def test_only_what_was_learned_is_corrected(shifts, ct):
    scans = scan("a", still=False, ct=ct), scan("b", still=True, ct=ct)

    def field(objective=None, **options):
        request = Request(
            *scans,
            GRID,
            torch.device("cpu"),
            objective or ObjectiveSettings(),
            network=shifts,
            settings=NUFIT.settings_with(options),
        )
        return NUFIT.run(request).data

    plain = field(correct=False)
    inside = (slice(None), *(slice(n // 4, -n // 4) for n in GRID.shape))
    changed = np.median((field() - plain)[inside], axis=(1, 2, 3))
    np.testing.assert_allclose(changed, SHIFT_MM if ct else (0.0, 0.0, 0.0), atol=0.03)
    other = ObjectiveSettings(similarity_activity="ngf")
    np.testing.assert_array_equal(field(other), field(other, correct=False))
