"""The shape vocabulary of tensors; axes as in `nufitdose.types`."""

from jaxtyping import Float
from torch import Tensor

ImageTensor = Float[Tensor, "batch channel i j k"]
FieldTensor = Float[Tensor, "batch 3 i j k"]
