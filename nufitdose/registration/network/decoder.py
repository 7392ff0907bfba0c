"""From features of all scales to a velocity at half the resolution, and maybe a weight map at the whole."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from nufitdose.registration.network.encoder import STAGES, convolved
from nufitdose.registration.network.shuffle import OverlappingAttention, Shuffle
from nufitdose.registration.regularization import MOST_WEIGHT, Prior, clamped_weight

_WEIGHT_BIAS = {"beta": 3.0, "gaussian": -1.386}  # the map starts near 1


class Decoder(nn.Module):
    """Concatenates the skips of all streams, upsamples and convolves, scale by scale.

    `streams` skips of C, 2C ... 16C channels; `inputs` image channels that enter at half the resolution. `shuffle`
    doubles the resolution by learnt channels in place of interpolation, and attends after every scale.
    """

    def __init__(self, channels: int, streams: int, inputs: int, cues: int, *, shuffle: bool = False) -> None:
        super().__init__()
        wide = [channels * 2**n for n in range(STAGES + 1)]
        self.presence = nn.Linear(2, wide[-1])
        self.bottom = convolved(streams * wide[-1], wide[-1])
        below = [*wide[1:], channels]
        self.blocks = nn.ModuleList(convolved(below[n] + streams * wide[n], wide[n]) for n in range(STAGES))
        self.doublings = nn.ModuleList(Shuffle(n) if shuffle else Interpolate() for n in (*wide[:0:-1], channels))
        self.attention = nn.ModuleList(OverlappingAttention(n) if shuffle else nn.Identity() for n in wide[-2::-1])
        self.fine = convolved(inputs, channels)
        self.last = nn.Sequential(_plain(2 * channels + cues, 2 * channels), _plain(2 * channels, channels))

    def forward(self, skips: Sequence[Sequence[Tensor]], images: Tensor, cues: Tensor, present: Tensor) -> Tensor:
        """Features of C channels at the resolution of `images`; `skips[scale][stream]`, the finest first.

        The last convolutions are not normalised: the amplitude of the `cues` counts.
        """
        x = self.bottom(torch.cat(list(skips[-1]), dim=1))
        x = x + self.presence(present.to(x.dtype))[:, :, None, None, None]
        *doublings, last = self.doublings
        for block, attend, double, skip in zip(
            reversed(self.blocks), self.attention, doublings, reversed(skips[:-1]), strict=True
        ):
            x = attend(block(torch.cat([double(x, skip[0]), *skip], dim=1)))
        fine = self.fine(images)
        return torch.as_tensor(self.last(torch.cat([last(x, fine), fine, cues], dim=1)))


class Interpolate(nn.Module):
    """Twice the resolution by interpolation."""

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        """Of the size of `like`: where that is odd, merging had added a voxel at the end."""
        i, j, k = like.shape[2:]
        return interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)[:, :, :i, :j, :k]


class VelocityHead(nn.Conv3d):
    """Three channels of velocity; starts at N(0, 1e-5), so that training starts at the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 3, 3, padding=1)
        nn.init.normal_(self.weight, std=1e-5)
        assert self.bias is not None
        nn.init.zeros_(self.bias)


class WeightHead(nn.Module):
    """The learned weight of the regularisation: two convolutions with rectifiers, one to a channel, ×2, sigmoid."""

    def __init__(self, channels: int, prior: Prior) -> None:
        super().__init__()
        self.prior: Prior = prior
        self.layers = nn.Sequential(
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv3d(channels, channels, 3, padding=1),
            nn.ReLU(),
        )
        self.out = nn.Conv3d(channels, 1, 3, padding=1)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias, _WEIGHT_BIAS[prior])

    def forward(self, features: Tensor) -> Tensor:
        """The weight at twice the resolution of the features, within what its prior allows."""
        logits = interpolate(self.out(self.layers(features)), scale_factor=2, mode="trilinear", align_corners=False)
        return clamped_weight(MOST_WEIGHT[self.prior] * torch.sigmoid(logits), self.prior)


def _plain(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution of 3³ and leaky rectifier."""
    return nn.Sequential(nn.Conv3d(channels_in, channels_out, 3, padding=1), nn.LeakyReLU(0.1))
