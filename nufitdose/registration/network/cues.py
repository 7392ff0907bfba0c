"""Where the eye would move one image to meet the other: local displacements by least squares, scale by scale.

In a window the fixed image F is the moving image M after a shift u and a linear change of intensity:
`F - μ_F ≈ s (M - μ_M) + g·u`, s = cov(F, M) / var(M), g the gradient of both, averaged. Least squares give
`u = (Σ g gᵀ + λ I)⁻¹ Σ g r` with the residual r (Lucas and Kanade 1981; the local intensities, and giving the result
to a network as images, are not from there). A network that is told this has only to learn what to believe.
"""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool3d, interpolate, pad

from nufitdose.registration.tensors import ImageTensor

SCALES = 4  # 1/2, 1/4, 1/8 and 1/16 of the resolution
CHANNELS = 5 * SCALES  # of one modality: the shift, how alike, how much structure
_MOST = 2.0  # voxels of the scale; a linear model sees no further
_FLAT = 0.02  # of the mean of the image's squares: less structure is taken for noise


def cues(images: ImageTensor) -> Tensor:
    """`[batch, 5 SCALES, i/2, j/2, k/2]` of one modality (channel 0 moving, 1 fixed), of 48 voxels a side or more.

    Of every scale: the shift from fixed to moving in voxels of the whole grid, the local correlation, and the
    structure that the shift rests on (0 ... 1).
    """
    half = [n // 2 for n in images.shape[2:]]
    found, scaled = [], images
    for scale in range(1, SCALES + 1):
        scaled = avg_pool3d(pad(scaled, _to_even(scaled), mode="replicate"), 2)
        shift, rest = _local(scaled[:, :1], scaled[:, 1:])
        seen = torch.cat([shift * 2.0**scale, rest], dim=1)
        if scale > 1:
            seen = interpolate(seen, scale_factor=2 ** (scale - 1), mode="trilinear", align_corners=False)
        found.append(seen[:, :, : half[0], : half[1], : half[2]])
    return torch.cat(found, dim=1)


def _local(moving: Tensor, fixed: Tensor) -> tuple[Tensor, Tensor]:
    """The shift (3 channels, voxels) and, as two channels, correlation and structure."""
    mean_m, mean_f = _mean(moving), _mean(fixed)
    m, f = moving - mean_m, fixed - mean_f
    tiny = 1e-6 + _FLAT * (f.square().mean(dim=(2, 3, 4), keepdim=True))
    var_m, var_f, covariance = _mean(m * m), _mean(f * f), _mean(m * f)
    change = ((covariance + tiny) / (var_m + tiny)).clamp(0.0, 3.0)  # of images alike, and of flat ones, 1
    alike = covariance / ((var_m + tiny) * (var_f + tiny)).sqrt()
    residual = f - change * m
    g = 0.5 * (_gradient(fixed) + change * _gradient(moving))
    energy = g.square().sum(dim=1, keepdim=True)
    least = 1e-7 + _FLAT * energy.mean(dim=(2, 3, 4), keepdim=True)
    products = _mean(torch.cat([g * g, g[:, [0, 0, 1]] * g[:, [1, 2, 2]], g * residual], dim=1))
    xx, yy, zz, xy, xz, yz, bx, by, bz = torch.split(products, 1, dim=1)
    xx, yy, zz = xx + least, yy + least, zz + least
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    determinant = xx * a + xy * b + xz * c
    d, e, h = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    u = torch.cat([a * bx + b * by + c * bz, b * bx + d * by + e * bz, c * bx + e * by + h * bz], dim=1) / determinant
    trace = _mean(energy)
    return _MOST * torch.tanh(u / _MOST), torch.cat([alike, trace / (trace + 10.0 * least)], dim=1)


def _mean(x: Tensor) -> Tensor:
    """Means over 3³ voxels, of those that are there at the rim; sums of slices, since torch pools in one thread."""
    for axis in (2, 3, 4):
        n = x.shape[axis]
        total = x.clone()
        total.narrow(axis, 1, n - 1).add_(x.narrow(axis, 0, n - 1))
        total.narrow(axis, 0, n - 1).add_(x.narrow(axis, 1, n - 1))
        count = x.new_full((n,), 3.0)
        count[0], count[-1] = 2.0, 2.0
        x = total.div_(count.reshape([-1 if a == axis else 1 for a in range(5)]))
    return x


def _gradient(image: Tensor) -> Tensor:
    """Central differences along the three axes, per voxel; one-sided at the rim."""
    return torch.cat(torch.gradient(image[:, 0], dim=(1, 2, 3)), dim=0).reshape(3, -1, *image.shape[2:]).transpose(0, 1)


def _to_even(image: Tensor) -> list[int]:
    widths: list[int] = []
    for size in reversed(image.shape[2:]):
        widths += [0, size % 2]
    return widths
