"""A decoder's other parts: resolution doubled by rearranged channels, attention over windows that overlap.

The idea of UTSRMorph (arXiv 2410.20348), whose code has no licence and was not read; sizes and places are chosen here.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, scaled_dot_product_attention

_WINDOW, _REACH = 2, 1  # nodes along a side that ask, and nodes beyond them that are asked too
_HEADS = 2


class Shuffle(nn.Module):
    """Twice the resolution: a node's channels, eight times as many by a linear map, become those of 2³ nodes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.widen = nn.Conv3d(channels, 8 * channels, 1)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Of the size of `like`: where that is odd, merging had added a voxel at the end."""
        b, c, i, j, k = x.shape
        parts = self.widen(x).reshape(b, c, 2, 2, 2, i, j, k)
        whole = parts.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(b, c, 2 * i, 2 * j, 2 * k)
        i, j, k = like.shape[2:]
        return whole[:, :, :i, :j, :k]


class OverlappingAttention(nn.Module):
    """Windows of 2³ nodes ask the 4³ nodes in and around them; what they learn is added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        asked = _WINDOW + 2 * _REACH
        self.normalise = nn.LayerNorm(channels)
        self.ask = nn.Linear(channels, channels)
        self.answer = nn.Linear(channels, 2 * channels)
        self.out = nn.Linear(channels, channels)
        self.place = nn.Parameter(torch.zeros(_HEADS, _WINDOW**3, asked**3))

    def forward(self, x: Tensor) -> Tensor:
        """Features of the same size."""
        b, c, *sizes = x.shape
        over = [-n % _WINDOW for n in sizes]
        whole = pad(x, [0, over[2], 0, over[1], 0, over[0]], mode="replicate")
        count = [n // _WINDOW for n in whole.shape[2:]]
        rows = self.normalise(whole.movedim(1, -1))
        around = pad(rows.movedim(-1, 1), [_REACH] * 6, mode="replicate")
        query = self._heads(self.ask(_windows(rows.movedim(-1, 1), _WINDOW)))
        key, value = (self._heads(part) for part in self.answer(_windows(around, _WINDOW + 2 * _REACH)).chunk(2, -1))
        found = scaled_dot_product_attention(query, key, value, attn_mask=self.place)
        found = self.out(found.transpose(1, 2).reshape(len(found), _WINDOW**3, c))
        found = found.reshape(b, *count, _WINDOW, _WINDOW, _WINDOW, c)
        found = found.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(whole.shape)
        i, j, k = sizes
        return x + found[:, :, :i, :j, :k]

    @staticmethod
    def _heads(rows: Tensor) -> Tensor:
        """`[window, head, node, channel]` of `[window, node, channel]`."""
        return rows.reshape(*rows.shape[:2], _HEADS, -1).transpose(1, 2)


def _windows(x: Tensor, size: int) -> Tensor:
    """`[window, node, channel]`: windows of `size`³ nodes, one every 2 nodes along each axis."""
    for axis in (2, 3, 4):
        x = x.unfold(axis, size, _WINDOW)
    return x.permute(0, 2, 3, 4, 5, 6, 7, 1).reshape(-1, size**3, x.shape[1])
