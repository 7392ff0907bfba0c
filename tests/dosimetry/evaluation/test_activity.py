"""The excess of activity over perfect registration, in blocks whose overlap is counted by hand."""

import numpy as np
import pytest

from dosimetry.evaluation.activity import activity_excess_percent
from nufitdose.grid import Grid
from nufitdose.registration.field import DisplacementField
from nufitdose.volume import Quantity, Volume

GRID = Grid.from_spacing((16, 8, 8), (4.0, 4.0, 4.0))


def test_a_field_that_misses_a_quarter_of_a_block_lacks_a_quarter_of_its_activity():
    labels, activity = np.zeros(GRID.shape, np.uint8), np.zeros(GRID.shape, np.float32)
    labels[4:8], labels[14] = 1, 2
    activity[6:10] = 5e4  # the block has moved by two voxels
    moving, drawn = Volume(activity, GRID, Quantity.ACTIVITY), Volume(labels, GRID, Quantity.LABELS)
    matrix = np.eye(4)
    matrix[0, 3] = 8.0
    exact = DisplacementField.from_affine(matrix, GRID)
    matrix[0, 3] = 4.0
    short = DisplacementField.from_affine(matrix, GRID)
    names = {1: "block", 2: "cold"}
    assert activity_excess_percent(exact, exact, moving, drawn, names) == {"block": 0.0}
    assert activity_excess_percent(short, exact, moving, drawn, names) == {"block": pytest.approx(25.0)}
