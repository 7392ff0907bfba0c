"""Electrons through voxels of any density, compiled: the steps of water, as long as the mass that they cross.

What is scored is the difference to local deposition: an electron adds what it leaves to the voxels on its way and
takes its whole energy from the voxel it started in. Electrons that cannot reach a border of their voxel any more end
there, so that only those that change something are followed, and only they make noise.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np

from dosimetry.dose.transport.electrons import hard_event, node, push, soft_step, turned
from dosimetry.dose.transport.photons import isotropic
from dosimetry.dose.transport.streams import start_stream, uniform
from dosimetry.dose.transport.voxel_source import draw_emission, next_voxel
from nufitdose.compiled import compiled

_STACK = 4096
_PAST = 1e-7  # of a voxel: how far beyond a border a particle is put that reached it


@compiled
@no_type_check
def inside(x, y, z, shape):
    """Whether a position, in voxels, lies on the grid."""
    return 0.0 <= x < shape[0] and 0.0 <= y < shape[1] and 0.0 <= z < shape[2]


@compiled
@no_type_check
def border_g_cm2(x, y, z, density, sides):
    """Mass per area between a position and the nearest face of its voxel."""
    i, j, k = int(x), int(y), int(z)
    nearest = min(x - i, i + 1.0 - x) * sides[0]
    nearest = min(nearest, min(y - j, j + 1.0 - y) * sides[1])
    nearest = min(nearest, min(z - k, k + 1.0 - z) * sides[2])
    return nearest * density[i, j, k]


@compiled
@no_type_check
def advance(x, y, z, u, v, w, g_cm2, density, sides):
    """The position after so much mass per area along a direction; off the grid if that ends before."""
    a, b, c = u / sides[0], v / sides[1], w / sides[2]
    while inside(x, y, z, density.shape):
        i, j, k = int(x), int(y), int(z)
        to_x = ((i + 1 if a > 0.0 else i) - x) / a if a != 0.0 else np.inf
        to_y = ((j + 1 if b > 0.0 else j) - y) / b if b != 0.0 else np.inf
        to_z = ((k + 1 if c > 0.0 else k) - z) / c if c != 0.0 else np.inf
        way = max(min(to_x, to_y, to_z), 0.0)
        rho = density[i, j, k]
        if way * rho >= g_cm2:
            way = g_cm2 / rho
            return x + way * a, y + way * b, z + way * c
        g_cm2 -= way * rho
        x, y, z = x + way * a, y + way * b, z + way * c
        if to_x <= to_y and to_x <= to_z:
            x = i + 1.0 + _PAST if a > 0.0 else i - _PAST
        elif to_y <= to_z:
            y = j + 1.0 + _PAST if b > 0.0 else j - _PAST
        else:
            z = k + 1.0 + _PAST if c > 0.0 else k - _PAST
    return x, y, z


@compiled
@no_type_check
def leave(x, y, z, energy, weight, per_gram, tally):
    """Add energy to the voxel of a position on the grid."""
    i, j, k = int(x), int(y), int(z)
    tally[i, j, k] += weight * energy * per_gram[i, j, k]


@compiled
@no_type_check
def follow_electron_in_voxels(stack, weight, medium, tables, ranges, kept, tally, stream):
    """Carry the electron in the first row of `stack`, and those it sets free, to their end.

    `ranges` and `kept` give, at the energies of `tables`, the CSDA range (g/cm²) and the part of the energy that is not
    radiated; photons of bremsstrahlung are dropped, they start with the decay.
    """
    density, per_gram, sides = medium
    ln_lowest, per_ln, values, _, stop_mev = tables
    level = 1
    while level > 0:
        level -= 1
        if stack[level, 7] != 0.0:
            continue
        x, y, z = stack[level, 0], stack[level, 1], stack[level, 2]
        u, v, w, E = stack[level, 3], stack[level, 4], stack[level, 5], stack[level, 6]
        while inside(x, y, z, density.shape):
            i, f = node(np.log(E), ln_lowest, per_ln, values.shape[0])
            if stop_mev >= E or ranges[i] + f * (ranges[i + 1] - ranges[i]) < border_g_cm2(x, y, z, density, sides):
                leave(x, y, z, E * (kept[i] + f * (kept[i + 1] - kept[i])), weight, per_gram, tally)
                break
            hinge, s, lost, cosine, majorant = soft_step(E, tables, stream)
            x, y, z = advance(x, y, z, u, v, w, hinge, density, sides)
            if not inside(x, y, z, density.shape):
                break
            leave(x, y, z, lost, weight, per_gram, tally)
            u, v, w = turned(u, v, w, cosine, 2.0 * np.pi * uniform(stream))
            x, y, z = advance(x, y, z, u, v, w, s - hinge, density, sides)
            E -= lost
            if E <= 0.0:
                break
            if majorant > 0.0 and stop_mev < E:
                u, v, w, E, level = hard_event(x, y, z, u, v, w, E, majorant, tables, stack, level, stream)


@compiled
@no_type_check
def electron_batch(first, number, seed, source, spectrum, medium, tables, ranges, kept, tally):
    """`number` histories from streams `first` on, spread evenly over the activity, as `voxel_photons.photon_batch`."""
    cumulative, voxels, signs = source
    mev_per_decay = spectrum[2]
    density, per_gram, sides = medium
    ln_lowest, per_ln, values, _, _ = tables
    stream, stack = np.zeros(1, np.uint64), np.empty((_STACK, 8))
    start_stream(stream, seed, first)
    offset, at = uniform(stream), 0
    whole = cumulative[-1]
    for history in range(number):
        start_stream(stream, seed, first + 1 + history)
        at = next_voxel(at, (history + offset) / number, cumulative)
        x, y, z, E = draw_emission(voxels[at], spectrum, tally.shape, stream)
        i, f = node(np.log(E), ln_lowest, per_ln, values.shape[0])
        if ranges[i] + f * (ranges[i + 1] - ranges[i]) < border_g_cm2(x, y, z, density, sides):
            continue
        weight = signs[at] * whole * mev_per_decay / (number * E)
        leave(x, y, z, -E * (kept[i] + f * (kept[i + 1] - kept[i])), weight, per_gram, tally)
        u, v, w = isotropic(stream)
        push(stack, 0, x, y, z, u, v, w, E, 0.0)
        follow_electron_in_voxels(stack, weight, medium, tables, ranges, kept, tally, stream)
