"""Pairs varied in training: motion, intensities, noise, blur, field of view."""

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial.transform import Rotation
from torch import Generator, Tensor
from torch.nn.functional import interpolate

from nufitdose.registration.pair import PairTensors
from nufitdose.registration.smoothing import gaussian
from nufitdose.registration.tensors import ImageTensor
from nufitdose.training.settings import AugmentationSettings
from nufitdose.types import Affine

_WASHOUT_LATTICE = (4, 4, 4)
_MOST_CUT = 0.25  # of the third axis, in all


def random_motion(settings: AugmentationSettings, random: np.random.Generator) -> Affine:
    """A small affine motion about the origin, 4x4, mm: rotation, scale along random axes, translation."""
    turn = Rotation.from_rotvec(np.radians(settings.affine_degrees) * random.standard_normal(3)).as_matrix()
    axes = Rotation.random(random_state=random).as_matrix()
    scale = axes @ np.diag(np.exp(settings.affine_log_scale * random.standard_normal(3))) @ axes.T
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ scale
    matrix[:3, 3] = settings.affine_mm * random.standard_normal(3)
    return matrix


def augment(pair: PairTensors, settings: AugmentationSettings, generator: Generator) -> PairTensors:
    """The pair with intensities, noise, blur and fields of view varied, each scan on its own.

    What the loss is weighted by (body, CT-guided weight) follows the cut of the field of view and nothing else.
    """
    ct = _vary_each(pair.ct, lambda image, _: _vary_ct(image, settings, generator), pair.body)
    activity = _vary_each(
        pair.activity, lambda image, body: _vary_activity(image, body, settings, generator), pair.body
    )
    kept = torch.ones_like(pair.body)
    for channel in range(2):
        kept[:, channel : channel + 1] *= _draw_field_of_view(pair.body[:, :1], settings.crop, generator)
    seen = kept * (pair.body > 0)  # beyond, images are 0, as they are at the patient
    return dataclasses.replace(pair, ct=ct * seen, activity=activity * seen, body=pair.body * kept)


def _vary_each(images: ImageTensor, vary: Callable[[Tensor, Tensor], Tensor], body: ImageTensor) -> ImageTensor:
    return torch.cat([vary(images[:, c : c + 1], body[:, c : c + 1]) for c in range(2)], dim=1)


def _vary_ct(image: ImageTensor, settings: AugmentationSettings, generator: Generator) -> ImageTensor:
    gain, offset = 1.0 + settings.gain * _normal(generator), settings.gain * _normal(generator)
    varied = _blur(image, settings.blur, generator) * gain
    varied = varied + offset * (image > 0)  # air stays air
    return (varied + settings.noise * _noise(image, generator)).clamp(0.0, 1.0)


def _vary_activity(
    image: ImageTensor, body: ImageTensor, settings: AugmentationSettings, generator: Generator
) -> ImageTensor:
    """On the square root of activity Poisson noise has one standard deviation everywhere."""
    varied = _blur(image, settings.blur, generator)
    if _uniform(generator) < settings.inversion:
        varied = (body - varied).clamp_min(0.0)
    varied = varied.clamp_min(1e-6) ** float(np.exp(settings.gamma * _normal(generator)))
    coarse = torch.randn(1, 1, *_WASHOUT_LATTICE, generator=generator).to(image)
    smooth = interpolate(coarse, size=image.shape[2:], mode="trilinear", align_corners=True)
    varied = varied * torch.exp(settings.washout * smooth) * (1.0 + settings.gain * _normal(generator))
    return (varied + settings.noise * _noise(image, generator)).clamp(0.0, 1.0)


def _draw_field_of_view(like: ImageTensor, probability: float, generator: Generator) -> ImageTensor:
    """1 within the field of view, 0 where it is cut at the ends of the third axis."""
    kept = torch.ones_like(like)
    if _uniform(generator) < probability:
        size = like.shape[4]
        cut = _uniform(generator) * _MOST_CUT * size
        below = _uniform(generator)
        kept[..., : int(cut * below)] = 0.0
        kept[..., size - int(cut * (1.0 - below)) :] = 0.0
    return kept


def _blur(image: ImageTensor, probability: float, generator: Generator) -> ImageTensor:
    chance, sigma = _uniform(generator), 0.4 + 0.6 * _uniform(generator)
    return image if chance >= probability else gaussian(image, sigma)


def _noise(like: Tensor, generator: Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator).to(like)


def _normal(generator: Generator) -> float:
    return float(torch.randn((), generator=generator))


def _uniform(generator: Generator) -> float:
    return float(torch.rand((), generator=generator))
