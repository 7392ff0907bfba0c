"""Where does one image lie in another? All translations at once, by correlation through Fourier transforms."""

import numpy as np
from jaxtyping import Bool, Float32
from scipy import fft

from nufitdose.types import Image32, Mask

_LEAST_OVERLAP = 0.4  # of the smaller mask


def best_shift(
    fixed: Image32,
    fixed_mask: Mask,
    moving: Float32[np.ndarray, "a b c"],
    moving_mask: Bool[np.ndarray, "a b c"],
) -> tuple[np.ndarray, float]:
    """The whole-voxel shift s of greatest correlation of `fixed[a]` with `moving[a + s]`, and that correlation.

    Only voxels that both masks hold are compared (Padfield, doi:10.1109/TIP.2011.2181402); shifts at which less
    than 40 % of the smaller mask overlaps are left out.
    """
    shape = [fft.next_fast_len(n + m - 1, real=True) for n, m in zip(fixed.shape, moving.shape, strict=True)]
    valid_f, valid_m = fixed_mask.astype(np.float64), moving_mask.astype(np.float64)
    f, m = fixed * valid_f, moving * valid_m

    def correlate(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(fft.irfftn(np.conj(a) * b, shape))

    image_f, image_m, mask_f, mask_m = (fft.rfftn(x, shape) for x in (f, m, valid_f, valid_m))
    count = np.maximum(correlate(mask_f, mask_m), 1e-3)
    sum_f, sum_m = correlate(image_f, mask_m), correlate(mask_f, image_m)
    covariance = correlate(image_f, image_m) - sum_f * sum_m / count
    spread_f = correlate(fft.rfftn(f * f, shape), mask_m) - sum_f**2 / count
    spread_m = correlate(mask_f, fft.rfftn(m * m, shape)) - sum_m**2 / count
    floor = 1e-6 * max(float(spread_f.max()), 1e-30) * max(float(spread_m.max()), 1e-30)
    score = covariance / np.sqrt(np.maximum(spread_f, 0) * np.maximum(spread_m, 0) + floor)
    score[count < _LEAST_OVERLAP * min(valid_f.sum(), valid_m.sum())] = -np.inf
    place = np.array(np.unravel_index(int(np.argmax(score)), score.shape))
    shift = np.where(place >= np.array(moving.shape), place - np.array(shape), place)
    return shift, float(score[tuple(place)])
