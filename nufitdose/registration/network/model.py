"""NufitReg: two encoders with cross-stitch units, one decoder, a stationary velocity.

After NuFit-Reg (doi:10.1186/s40658-026-00911-2), whose abstract states two Swin encoders, for CT and for SPECT, and
cross-stitch units between their stages. Input scaling, sizes, place of the units, decoder and field are chosen here.
"""

from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn.functional import avg_pool3d, pad

from nufitdose.registration.diffeomorphism import integrated, upsampled, warp
from nufitdose.registration.network.correction import FieldCorrection
from nufitdose.registration.network.cues import CHANNELS, cues
from nufitdose.registration.network.decoder import Decoder, VelocityHead, WeightHead
from nufitdose.registration.network.encoder import STAGES, ConvolutionalEncoder, CrossStitch, SwinEncoder
from nufitdose.registration.network.settings import NetworkSettings
from nufitdose.registration.objective import NetworkOutput
from nufitdose.registration.tensors import ImageTensor

MULTIPLE = 8
LEAST = 64  # voxels along a side, so that the deepest stage holds a window


class NufitReg(nn.Module):
    """The network; `stitches` holds one unit per stage where two streams exchange features."""

    def __init__(self, settings: NetworkSettings) -> None:
        super().__init__()
        self.settings = settings
        self._cues = cues
        self.joined = settings.streams == "joined"
        alone = {"ct": [0], "activity": [1]}
        self.modalities = alone.get(settings.streams, [0, 1])
        c, seen = settings.channels, len(self.modalities)
        count = 1 if self.joined else seen
        images = 2 * seen // count

        def encoder() -> nn.Module:
            if settings.encoder == "unet":
                return ConvolutionalEncoder(images, c)
            return SwinEncoder(images, c, settings.checkpointing)

        self.encoders = nn.ModuleList(encoder() for _ in range(count))
        mixing = settings.cross_stitch and count == 2
        self.stitches = nn.ModuleList(CrossStitch(c * 2 ** (n + 1)) for n in range(STAGES if mixing else 0))
        self.decoder = Decoder(c, count, 2 * seen, CHANNELS * seen, shuffle=settings.decoder == "pixel_shuffle")
        self.head = VelocityHead(c)
        self.weight_head = WeightHead(c, settings.weight_head) if settings.weight_head != "none" else None
        self.correction = FieldCorrection(settings.correction) if settings.correction else None

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """`nn.Module.compile` of all but the cues, whose poolings would be unrolled into one another for minutes."""
        self._cues = torch.compiler.disable(cues)  # type: ignore[no-untyped-call]
        super().compile(*args, **kwargs)

    def forward(
        self, ct: ImageTensor, activity: ImageTensor, present: Bool[Tensor, "batch 2"], passes: int | None = None
    ) -> NetworkOutput:
        """Velocity (voxels of the input grid, on the half lattice) for images of even sides.

        Channel 0 is the moving, channel 1 the fixed scan; `present` (CT, activity) says what may be looked at. Each
        pass adds to the velocity what it makes of the moving scan as warped so far; `passes` of them, by default those
        of the settings. In training the number of passes is drawn, and only the last one learns.
        """
        shown = [(ct, activity)[n] * present[:, n].reshape(-1, 1, 1, 1, 1) for n in self.modalities]
        velocity = ct.new_zeros((ct.shape[0], 3, *(n // 2 for n in ct.shape[2:])))
        passes = self.settings.passes if passes is None else passes
        if self.training:
            passes = int(torch.randint(1, passes + 1, ()))
        with torch.no_grad():
            for _ in range(passes - 1):
                velocity = velocity + self._pass(self._warped(shown, velocity), present)[0]
        found, weight = self._pass(self._warped(shown, velocity), present)
        return NetworkOutput(velocity + found, weight, displacement=self._displacement)

    @property
    def _displacement(self) -> bool:
        return self.settings.field == "displacement"

    def _warped(self, images: list[Tensor], velocity: Tensor) -> list[Tensor]:
        if not velocity.any():
            return images
        u = upsampled(velocity if self._displacement else integrated(velocity))
        return [torch.cat([warp(x[:, :1], u), x[:, 1:]], dim=1) for x in images]

    def _pass(self, shown: list[Tensor], present: Tensor) -> tuple[Tensor, Tensor | None]:
        """A velocity for the images as they are, and the weight map."""
        sizes = shown[0].shape[2:]
        width = [max(LEAST, -(-n // MULTIPLE) * MULTIPLE) - n for n in sizes]
        images = [pad(x, [0, width[2], 0, width[1], 0, width[0]]) for x in shown]
        fine = torch.cat([avg_pool3d(x, 2) for x in images], dim=1)
        seen = torch.cat(self._cues(torch.cat(images)).chunk(len(images)), dim=1)
        features = self.decoder(self._encoded(images, present), fine, seen, present)
        i, j, k = (n // 2 for n in sizes)
        velocity = self.head(features)[:, :, :i, :j, :k]
        if self.weight_head is None:
            return velocity, None
        return velocity, self.weight_head(features)[:, :, : sizes[0], : sizes[1], : sizes[2]]

    def _encoded(self, images: list[Tensor], present: Tensor) -> list[list[Tensor]]:
        """Skips of every stream on every scale; an absent modality is zero throughout."""
        there = [present.any(dim=1)] if self.joined else [present[:, n] for n in self.modalities]
        kept = [one.reshape(-1, 1, 1, 1, 1) for one in there]
        images = [torch.cat(images, dim=1)] if self.joined else images

        def hidden(features: list[Tensor]) -> list[Tensor]:
            return [f * k for f, k in zip(features, kept, strict=True)]

        def skips(features: list[Tensor]) -> list[Tensor]:
            return hidden([e.skip(f) for e, f in zip(self.encoders, features, strict=True)])  # type: ignore[operator]

        features = hidden([e.embed(x) for e, x in zip(self.encoders, images, strict=True)])  # type: ignore[operator]
        scales = [skips(features)]
        for number in range(1, STAGES + 1):
            features = hidden(
                [e.stage(number, f) for e, f in zip(self.encoders, features, strict=True)]  # type: ignore[operator]
            )
            if self.stitches:
                features = list(self.stitches[number - 1](*features, present))
            scales.append(skips(features))
        return scales
