"""The shape vocabulary of tensors; axes as in `nufitdose.types`.

Fields of tensors count in voxels: displacements `[batch, 3, i, j, k]` along the axes of the grid that they lie on,
velocities on a lattice of half the resolution, still in voxels of the finer grid.
"""

from jaxtyping import Float
from torch import Tensor

ImageTensor = Float[Tensor, "batch channel i j k"]
FieldTensor = Float[Tensor, "batch 3 i j k"]
VelocityTensor = Float[Tensor, "batch 3 half_i half_j half_k"]
HalfImageTensor = Float[Tensor, "batch channel half_i half_j half_k"]
FeatureTensor = Float[Tensor, "batch features i j k"]
