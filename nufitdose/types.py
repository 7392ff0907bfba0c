"""The shape vocabulary: every array that crosses a function boundary is named here.

Axes `i j k` are the voxel axes in the order of the affine's columns; `points` are rows of world
coordinates in mm (RAS+). The annotations are checked at run time under pytest only. The names of tensor
shapes stand in `nufitdose.registration.tensors`, so that this module does not import torch.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Integer, Num
from numpy.typing import NDArray

F64 = NDArray[np.float64]  # double precision, whatever the shape
Numbers = float | np.floating | Sequence[Any] | np.ndarray  # a number or what numpy makes an array of
Triple = Sequence[float] | Float[np.ndarray, " 3"]
Affine = Float64[np.ndarray, "4 4"]
Points = Float64[np.ndarray, "*points 3"]
Indices = Num[np.ndarray, "*points 3"]  # voxel indices, whole or fractional
Image = Num[np.ndarray, "i j k"]
Image32 = Float32[np.ndarray, "i j k"]
Labels = Integer[np.ndarray, "i j k"]
Mask = Bool[np.ndarray, "i j k"]
Field = Float32[np.ndarray, "3 i j k"]  # displacement in mm, RAS+, on the fixed grid, pull
Curves = Float[np.ndarray, "voxels times"]
PerVoxel = Float[np.ndarray, " voxels"]
Times = Float[np.ndarray, " times"]
