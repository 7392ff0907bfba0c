"""Low-rank adaptation: the linear layers of the Swin encoders learn a change of few parameters.

A weight W becomes `W + up down` with `up` (out x rank, zero at the start) and `down` (rank x in), after LoRA
(arXiv 2106.09685); W itself stays as it was. Which layers, and that the change is not scaled, is chosen here.
"""

import math
from collections.abc import Mapping

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

from nufitdose.errors import InputError

_LAYERS = ("attn.qkv", "attn.proj", "mlp.linear1", "mlp.linear2")
_ORIGINAL, _UP, _DOWN = (f".parametrizations.weight.{part}" for part in ("original", "0.up", "0.down"))


class LowRank(nn.Module):
    """`W + up down`; a change of nothing at the start."""

    def __init__(self, weight: Float[Tensor, "out in"], rank: int) -> None:
        super().__init__()
        self.up = nn.Parameter(weight.new_zeros(weight.shape[0], rank))
        self.down = nn.Parameter(weight.new_empty(rank, weight.shape[1]))
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """The weight that the layer computes with."""
        return weight + self.up @ self.down


def add_low_rank(model: nn.Module, rank: int) -> None:
    """Freeze the encoders of `model` and let a change of `rank` of their linear layers be learnt.

    What lies outside the encoders is left as it is. Raises `InputError` where the encoders have no such layers.
    """
    named = [(name, module) for name, module in model.named_modules() if name.startswith("encoders.")]
    layers = [module for name, module in named if name.endswith(_LAYERS)]
    if not layers:
        raise InputError(
            "low-rank adaptation is for Swin encoders, this network has none",
            remedy="Set adapt=full, or freeze=encoders",
        )
    for name, parameter in model.named_parameters():
        if name.startswith("encoders."):
            parameter.requires_grad_(False)
    for layer in layers:
        assert isinstance(layer, nn.Linear)
        parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank))


def merge_low_rank(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of the plain network: every change added to its layer; weights without changes as they are."""
    plain = {name: tensor for name, tensor in weights.items() if ".parametrizations." not in name}
    for name in weights:
        if name.endswith(_ORIGINAL):
            layer = name.removesuffix(_ORIGINAL)
            plain[f"{layer}.weight"] = weights[name] + weights[layer + _UP] @ weights[layer + _DOWN]
    return plain
