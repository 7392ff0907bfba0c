"""The network that corrects: a U-Net on the optimiser's lattice, from evidence to a displacement."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from nufitdose.registration.optimiser.evidence import ODD_ALONG

MULTIPLE = 4  # of the sides of what it is shown: its three levels halve them twice


class FieldCorrection(nn.Module):
    """From evidence to what is to be added to the displacement, mm along the axes of the lattice; 0 untrained."""

    def __init__(self, width: int = 24, levels: int = 3) -> None:
        super().__init__()
        widths = [width * 2**n for n in range(levels)]
        self.first = nn.Conv3d(len(ODD_ALONG), width, 1)
        self.down = nn.ModuleList(_Block(w, w) for w in widths[:-1])
        self.deeper = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in pairwise(widths))
        self.deepest = nn.Sequential(_Block(widths[-1], widths[-1]), _Block(widths[-1], widths[-1]))
        self.up = nn.ModuleList(_Block(a + b, a) for a, b in pairwise(widths))
        self.head = nn.Conv3d(width, 3, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last_3d)  # two thirds of the time

    def forward(self, evidence: Float[Tensor, "batch evidence i j k"]) -> Float[Tensor, "batch 3 i j k"]:
        """The correction of every node, mm."""
        x = self.first(evidence.clamp(-4.0, 4.0).contiguous(memory_format=torch.channels_last_3d))
        kept = []
        for block, deeper in zip(self.down, self.deeper, strict=True):
            x = block(x)
            kept.append(x)
            x = deeper(x)
        x = self.deepest(x)
        for block, beside in zip(reversed(self.up), reversed(kept), strict=True):
            x = interpolate(x, size=beside.shape[2:], mode="trilinear", align_corners=False)
            x = block(torch.cat([beside, x], dim=1))
        return self.head(x)


class _Block(nn.Sequential):
    def __init__(self, inside: int, outside: int) -> None:
        super().__init__(
            nn.Conv3d(inside, outside, 3, padding=1),
            nn.GroupNorm(4, outside),
            nn.LeakyReLU(0.1),
            nn.Conv3d(outside, outside, 3, padding=1),
            nn.LeakyReLU(0.1),
        )
