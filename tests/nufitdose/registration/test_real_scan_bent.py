"""Deformable engines on a real PET/CT and a copy of it bent by a known smooth field: no training has seen such."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from nufitdose.anatomy.body import body_mask
from nufitdose.grid import Grid
from nufitdose.io.importer.planning import plan_import
from nufitdose.registration.engines.engine import Request
from nufitdose.registration.engines.registry import find_engine
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.registration.scan_to_scan import load_network_for
from nufitdose.study import TimePoint

LATTICE_MM = 8.0
SMOOTH_MM = 60.0
ROOT_MEAN_SQUARE_MM = 10.0  # of every component
CT_NOISE_HU = 20.0


def bending(grid: Grid, random: np.random.Generator) -> DisplacementField:
    size_mm = np.array(grid.shape) * grid.spacing_mm
    shape = tuple(int(n) for n in np.ceil(size_mm / LATTICE_MM) + 1)
    coarse = Grid(shape, grid.affine @ np.diag([*(LATTICE_MM / np.array(grid.spacing_mm)), 1.0]))
    u = np.stack([ndimage.gaussian_filter(random.normal(size=shape), SMOOTH_MM / LATTICE_MM) for _ in range(3)])
    u *= ROOT_MEAN_SQUARE_MM / np.sqrt((u**2).mean())
    return DisplacementField(u.astype(np.float32), coarse)


@pytest.mark.slow
def test_a_bent_copy_of_a_real_scan_is_brought_back(real_data):
    (fixed,) = plan_import(real_data("fdg_petct")).study.timepoints
    random = np.random.default_rng(0)
    truth = bending(fixed.activity.grid, random)
    back = truth.inverse(fixed.activity.grid)
    ct = back.warp(fixed.ct, fixed.ct.grid)
    noisy = ct.with_data((ct.data + random.normal(0.0, CT_NOISE_HU, ct.data.shape)).astype(np.float32))
    moving = TimePoint.of("bent", 24.0, back.warp(fixed.activity), noisy)
    body = body_mask(fixed)
    points = body.grid.world(np.argwhere(body.data > 0.5)[::997])
    there = points + truth.at(points)
    seen = fixed.ct.grid.contains(points) & fixed.ct.grid.contains(there)
    mean_mm = {}
    for engine in ("rigid", "network", "nufit"):
        found, trained = find_engine(engine), load_network_for(find_engine(engine))
        network = trained.model if trained else None
        field = found.run(
            Request(fixed, moving, fixed.activity.grid, torch.device("cpu"), network=network, settings=found.settings)
        )
        mean_mm[engine] = target_registration_error_mm(field, points[seen], there[seen]).mean()
        assert field.jacobian_statistics(body.resampled_to(field.grid).data > 0.5).ndv_percent == 0.0
    assert mean_mm["rigid"] > 5.0
    assert mean_mm["network"] < 0.6 * mean_mm["rigid"]
    assert mean_mm["nufit"] < 1.5
