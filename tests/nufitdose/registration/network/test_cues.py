"""Local displacements by least squares: known shifts are found whatever the intensities do."""

import pytest
import torch
from scipy import ndimage

from nufitdose.registration.diffeomorphism import warp
from nufitdose.registration.network.cues import CHANNELS, SCALES, cues


def blobs(seed: int = 0) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    noise = torch.randn(48, 48, 48, generator=chance).numpy()
    image = torch.from_numpy(ndimage.gaussian_filter(noise, 2.5))
    return ((image - image.min()) / (image.max() - image.min()))[None, None]


def shifted(image: torch.Tensor, shift: tuple[float, float, float]) -> torch.Tensor:
    """The scan whose point x + shift shows what the image shows at x."""
    u = -torch.tensor(shift).reshape(1, 3, 1, 1, 1).expand(1, 3, 48, 48, 48)
    return warp(image, u)


@pytest.mark.parametrize("shift", [(1.5, 0.0, 0.0), (0.0, -1.0, 2.0), (-2.0, 1.0, 1.0)])
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (0.4, 0.3)])
def test_a_shift_is_found_at_the_second_scale(shift, gain, offset):
    fixed = blobs()
    seen = cues(torch.cat([gain * shifted(fixed, shift) + offset, fixed], dim=1))[0, :, 6:-6, 6:-6, 6:-6]
    found = seen[5:8].median(dim=1).values.flatten(1).median(dim=1).values
    torch.testing.assert_close(found, torch.tensor(shift), atol=0.4, rtol=0.15)
    assert seen[8].mean() > 0.6


def test_images_alike_need_no_shift_and_correlate():
    image = blobs()
    seen = cues(image.expand(1, 2, 48, 48, 48)).reshape(SCALES, 5, 24, 24, 24)
    assert seen[:, :3].abs().max() < 1e-4
    assert seen[:2, 3].mean() > 0.9


def test_an_empty_image_says_nothing_and_any_even_size_is_taken():
    seen = cues(torch.zeros(2, 2, 48, 50, 66))
    assert seen.shape == (2, CHANNELS, 24, 25, 33)
    assert torch.equal(seen, torch.zeros_like(seen))


def test_what_is_believed_stays_bounded_where_images_disagree():
    seen = cues(torch.cat([blobs(1), blobs(2)], dim=1)).reshape(SCALES, 5, 24, 24, 24)
    assert torch.isfinite(seen).all()
    for scale in range(SCALES):
        assert seen[scale, :3].abs().max() <= 2.0 * 2.0 ** (scale + 1)
