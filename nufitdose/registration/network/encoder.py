"""Encoders, stage by stage, and the units through which two of them exchange features.

An encoder maps `[batch, 2, i, j, k]` (moving, fixed; 4 channels where it sees both modalities) to a quarter of the
resolution with C channels, then four times to half the resolution and twice the channels.
"""

from typing import cast

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from nufitdose.registration.tensors import ImageTensor

STAGES = 4
WINDOW = 2  # with sides of 64 voxels or more the deepest stage still holds a window
PATCH = 4
_HEADS = (2, 4, 8, 16)


class SwinEncoder(nn.Module):
    """MONAI's 3-D Swin stages, two blocks each; embedded features are normalised so that streams mix on one scale."""

    def __init__(self, images: int, channels: int, checkpointing: bool) -> None:
        super().__init__()
        from monai.networks.nets.swin_unetr import SwinTransformer

        self.swin = SwinTransformer(
            in_chans=images,
            embed_dim=channels,
            window_size=(WINDOW,) * 3,
            patch_size=(PATCH,) * 3,
            depths=(2,) * STAGES,
            num_heads=_HEADS,
            patch_norm=True,
            use_checkpoint=checkpointing,
            spatial_dims=3,
            downsample="mergingv2",
        )

    def embed(self, images: ImageTensor) -> Tensor:
        """The first features, C channels at a quarter of the resolution."""
        return cast(Tensor, self.swin.patch_embed(images))

    def stage(self, number: int, features: Tensor) -> Tensor:
        """Stage 1 ... 4: twice the channels at half the resolution."""
        return cast(Tensor, getattr(self.swin, f"layers{number}")[0](features.contiguous()))

    def skip(self, features: Tensor) -> Tensor:
        """Features as the decoder gets them, normalised."""
        return cast(Tensor, self.swin.proj_out(features, True))


class ConvolutionalEncoder(nn.Module):
    """Plain convolutions of the same shapes: what the Swin stages are compared with."""

    def __init__(self, images: int, channels: int) -> None:
        super().__init__()
        first = nn.Sequential(convolved(images, channels, stride=2), convolved(channels, channels, stride=2))
        rest = [convolved(channels * 2**n, channels * 2 ** (n + 1), stride=2) for n in range(STAGES)]
        self.stages = nn.ModuleList([first, *rest])

    def embed(self, images: ImageTensor) -> Tensor:
        """The first features, C channels at a quarter of the resolution."""
        return cast(Tensor, self.stages[0](images))

    def stage(self, number: int, features: Tensor) -> Tensor:
        """Stage 1 ... 4: twice the channels at half the resolution."""
        return cast(Tensor, self.stages[number](features))

    def skip(self, features: Tensor) -> Tensor:
        """Features as the decoder gets them."""
        return features


def convolved(channels_in: int, channels_out: int, stride: int = 1) -> nn.Sequential:
    """Convolution of 3³, group normalisation, leaky rectifier."""
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, 3, stride=stride, padding=1),
        nn.GroupNorm(4, channels_out),
        nn.LeakyReLU(0.1),
    )


class CrossStitch(nn.Module):
    """`a' = α_AA a + α_AB b`, `b' = α_BA a + α_BB b`, one set per channel, from 0.9 and 0.1 (arXiv 1604.03539)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        start = torch.tensor([[0.9, 0.1], [0.1, 0.9]])
        self.alpha = nn.Parameter(start[:, :, None].repeat(1, 1, channels))

    def forward(self, a: Tensor, b: Tensor, present: Bool[Tensor, "batch 2"]) -> tuple[Tensor, Tensor]:
        """Features mixed; where only one stream is present it stays as it is and the other stays zero."""
        both = present.all(dim=1).reshape(-1, 1, 1, 1, 1)
        alpha = self.alpha[:, :, None, :, None, None, None].to(a.dtype)
        mixed_a = alpha[0, 0] * a + alpha[0, 1] * b
        mixed_b = alpha[1, 0] * a + alpha[1, 1] * b
        return torch.where(both, mixed_a, a), torch.where(both, mixed_b, b)
