"""Where and with what energy a history begins, compiled: decays spread over voxels of activity."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np

from dosimetry.dose.transport.streams import uniform
from nufitdose.compiled import compiled


@compiled
@no_type_check
def next_voxel(at, share, cumulative):
    """The first voxel from `at` on within which `share` of all decays is reached."""
    while at < cumulative.shape[0] - 1 and cumulative[at] < share * cumulative[-1]:
        at += 1
    return at


@compiled
@no_type_check
def draw_emission(voxel, spectrum, shape, stream):
    """A position in a voxel, given by its number on the flattened grid, and an energy of `spectrum`."""
    energy_mev, shares, _ = spectrum
    x = voxel // (shape[1] * shape[2]) + uniform(stream)
    y = voxel // shape[2] % shape[1] + uniform(stream)
    z = voxel % shape[2] + uniform(stream)
    return x, y, z, energy_mev[min(np.searchsorted(shares, uniform(stream)), energy_mev.shape[0] - 1)]
