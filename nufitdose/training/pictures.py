"""What the network makes of one validation pair, as a picture: to see at a glance what numbers hide."""

from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from nufitdose.registration.diffeomorphism import upsampled, warp
from nufitdose.registration.objective import displacements
from nufitdose.training.pairs import PairKey
from nufitdose.training.scans import ScanStore, pair_scans
from nufitdose.training.task import predict
from nufitdose.types import Image32

FOLDER = "pictures"
_TISSUE = 0.3  # of the CT from 0 to 1, -120 HU: outline and lungs
_HOT = 0.5  # of the root of the activity, a quarter of what is scaled to 1


def draw_pair(model: nn.Module, pair: PairKey, store: ScanStore, path: Path, *, precision: str) -> None:
    """Write `path` (PNG): the fixed scan, the moving one before and after, as seen from the front.

    Under each title a coronal slice of the CT through the most fixed activity, and over it the largest activity from
    front to back. The lines are those of the fixed scan on all three: tissue, and a quarter of its hottest activity.
    """
    fixed, moving = (store.get(key) for key in pair)
    tensors = pair_scans(fixed, moving)
    device = next(model.parameters()).device
    with torch.no_grad():
        output = predict(model, tensors.to(device), tensors.present.to(device), precision)
        u = upsampled(displacements(output)[0]).cpu()
    both = torch.cat([tensors.ct, tensors.activity], dim=1)  # moving and fixed CT, moving and fixed activity
    warped = warp(both[:, [0, 2]], u)
    images = torch.cat([both[:, [1, 3, 0, 2]], warped], dim=1)[0]
    seen = [from_the_front(image.numpy(), fixed.grid.directions) for image in images]
    middle = int(seen[1].sum(axis=(0, 2)).argmax())
    flat = [image.max(axis=1) if n % 2 else image[:, middle] for n, image in enumerate(seen)]
    shape = flat[0].shape
    figure = Figure(figsize=(9.0, 0.4 + 3.0 * shape[1] / shape[0]), dpi=80, layout="constrained")
    titles = (f"fixed: {pair[0].timepoint}", f"moving: {pair[1].timepoint}", "moving, registered")
    for n, (axes, title) in enumerate(zip(figure.subplots(1, 3), titles, strict=True)):
        _show(axes, flat[2 * n], flat[2 * n + 1])
        _lines(axes, flat[0], _TISSUE, "deepskyblue")
        _lines(axes, flat[1], _HOT, "lime")
        axes.set_title(title, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def from_the_front(image: Image32, directions: np.ndarray) -> np.ndarray:
    """An image of axes `directions` (columns, RAS+) turned: patient's right to left, back and front, feet to head."""
    across, along = (int(np.abs(directions[axis]).argmax()) for axis in (0, 2))
    turned = image.transpose(across, 3 - across - along, along)
    return turned[:: -1 if directions[0, across] > 0 else 1, :, :: -1 if directions[2, along] < 0 else 1]


def _show(axes: Axes, ct: np.ndarray, activity: np.ndarray) -> None:
    axes.imshow(ct.T, cmap="gray", vmin=0.0, vmax=1.0, origin="lower")
    axes.imshow(activity.T, cmap="hot", vmin=0.0, vmax=1.0, alpha=np.clip(activity.T, 0.0, 1.0), origin="lower")
    axes.set_axis_off()


def _lines(axes: Axes, image: np.ndarray, level: float, colour: str) -> None:
    if image.min() < level < image.max():
        axes.contour(image.T, levels=[level], colors=[colour], linewidths=0.7)
