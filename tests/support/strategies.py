"""Hypothesis strategies shared by tests: oblique, anisotropic grids."""

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from nufitdose.grid import Grid


@st.composite
def grids(draw, smallest: int = 2, largest: int = 9) -> Grid:
    """A grid of any obliquity, handedness, spacing and origin."""
    shape = tuple(draw(st.integers(smallest, largest)) for _ in range(3))
    spacing = np.array([draw(st.floats(0.5, 9.0)) for _ in range(3)])
    turn = Rotation.from_euler("xyz", [draw(st.floats(-180, 180)) for _ in range(3)], degrees=True).as_matrix()
    flips = np.array([draw(st.sampled_from([-1.0, 1.0])) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = turn * (spacing * flips)
    affine[:3, 3] = [draw(st.floats(-500, 500)) for _ in range(3)]
    return Grid(shape, affine)
