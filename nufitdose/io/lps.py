"""The flip between the world of this program (RAS+) and that of DICOM and ITK (LPS+)."""

import numpy as np

#: RAS+ <-> LPS+: x and y change sign; its own inverse. Used in `nufitdose.io` alone.
RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
