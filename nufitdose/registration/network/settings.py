"""What the network is made of; ablations are settings."""

from typing import Literal

from pydantic import Field

from nufitdose.config import Settings
from nufitdose.registration.intensity import CtContrast


class NetworkSettings(Settings):
    """Size, encoders, fusion and outputs.

    `size`: 12, 24 or 48 channels at the first stage. `encoder`: Swin stages (NuFit-Reg) or plain convolutions
    (VoxelMorph-like). `streams`: an encoder for each modality, one for both as channels (`joined`, TransMorph-like),
    or one modality alone. `cross_stitch` lets two streams exchange features. `decoder`: doubles by interpolation, or by
    rearranged channels with attention over overlapping windows (`pixel_shuffle`). `field`: a stationary velocity, or a
    displacement. `weight_head` gives the map of the learned regularisation weight with the prior named.
    `working_spacing_mm` is the spacing the network is trained at and run at. `ct_contrast`: CTs clipped to ±300 HU, or
    mapped so that lung, soft tissue and bone keep some contrast each (`nufitdose.registration.intensity`). `passes`:
    how often the network looks, each time at the moving scan as warped so far. `checkpointing` trades time for memory
    in training and changes no result. `correction` is the width of the part that corrects optimised fields (0: none).
    """

    size: Literal["tiny", "small", "base"] = "tiny"
    encoder: Literal["swin", "unet"] = "swin"
    streams: Literal["both", "joined", "ct", "activity"] = "both"
    cross_stitch: bool = True
    decoder: Literal["convolutions", "pixel_shuffle"] = "convolutions"
    field: Literal["velocity", "displacement"] = "velocity"
    weight_head: Literal["none", "beta", "gaussian"] = "none"
    working_spacing_mm: float = Field(default=4.0, gt=0)
    ct_contrast: CtContrast = "window"
    passes: int = Field(default=2, ge=1, le=8)
    checkpointing: bool = False
    correction: int = Field(default=0, ge=0)

    @property
    def channels(self) -> int:
        """Channels of the first stage; each further stage has twice as many."""
        return {"tiny": 12, "small": 24, "base": 48}[self.size]
