"""Photons through voxels of tissue, compiled: Woodcock's flights, and energy scored along every track.

Flights are drawn with the largest attenuation anywhere, and a collision counts with the probability μ/μ_max (Woodcock
et al. 1965), so that no border between tissues has to be found. Each flight leaves E · l · μ_tr/ρ on its way through a
voxel (track-length estimator): where it passes is known, and only how much of it would be absorbed is a mean. l is
counted by points that lie evenly on the flight from a random start: on average that is the length, and no face on the
way has to be found. Positions are in voxels, directions in voxels per cm.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np

from dosimetry.dose.transport.electrons import node, turned
from dosimetry.dose.transport.photons import STOP_MEV, M, compton, isotropic, rayleigh_cosine
from dosimetry.dose.transport.streams import beside, start_stream, uniform
from dosimetry.dose.transport.voxel_source import draw_emission, next_voxel
from nufitdose.compiled import compiled

_WAITING = 16  # photons of annihilation that wait for their turn


@compiled
@no_type_check
def held(place, count):
    """The voxel of a position along an axis, the outermost one beyond the ends."""
    return min(max(int(place), 0), count - 1)  # int goes to zero, where all below end too


@compiled
@no_type_check
def score_track(x, y, z, a, b, c, length, per_point, step, first, low, high, shape, tissue, tally):
    """Add its tissue's `per_point` to the voxel of every point of a track along (a, b, c) between two corners.

    Points lie `step` apart, the first one `first` (0 to 1) of a step from where the track enters: with that drawn
    evenly, each voxel gets on average as many steps as the track has length in it. `tissue` and `tally` are flat arrays
    of `shape`.
    """
    nx, ny, nz = shape
    start, end = 0.0, length
    for position, per_cm, least, most in (
        (x, a, max(low[0], 0.0), min(high[0], nx)),
        (y, b, max(low[1], 0.0), min(high[1], ny)),
        (z, c, max(low[2], 0.0), min(high[2], nz)),
    ):
        near, far = (least - position) / per_cm, (most - position) / per_cm
        start, end = max(start, min(near, far)), min(end, max(near, far))
    at = start + first * step
    x, y, z = x + at * a, y + at * b, z + at * c
    a, b, c = step * a, step * b, step * c
    while at < end:
        # int goes to zero, where all below the grid's first voxel by rounding end too
        i, j, k = min(np.int64(x), nx - 1), min(np.int64(y), ny - 1), min(np.int64(z), nz - 1)
        voxel = np.uint64((i * ny + j) * nz + k)  # unsigned: no test for indices from the end
        tally[voxel] += per_point[tissue[voxel]]
        x, y, z, at = x + a, y + b, z + c, at + step


@compiled
@no_type_check
def off_axis(u):
    """A component of a direction that can be divided by."""
    return u if abs(u) > 1e-9 else 1e-9


@compiled
@no_type_check
def follow_photon_in_voxels(x, y, z, u, v, w, E, weight, medium, tables, waiting, per_point, tally, stream):
    """Carry one photon and its annihilation quanta to their end.

    `medium` is (density, tissue, majorant, sides, low, high): g/cm³ and row of `tables` by voxel, largest attenuation
    by energy (1/cm), voxel sides in cm, and where transport ends, in voxels; beyond the grid its outermost voxels go
    on. `tally` gains MeV/g times `weight`.
    """
    density, tissue, majorant, sides, low, high = medium
    ln_lowest, per_ln, total, incoherent, coherent, photoelectric, absorbed, x_squared, bound, integral = tables
    nx, ny, nz = tissue.shape
    flat_tissue, flat_tally = tissue.ravel(), tally.ravel()
    step = min(sides[0], sides[1], sides[2])  # from point to point of a track
    per_volume = 1.0 / (sides[0] * sides[1] * sides[2])
    level = 0
    while True:
        lost = False
        while E > STOP_MEV:
            i, f = node(np.log(E), ln_lowest, per_ln, total.shape[0])
            most = majorant[i] + f * (majorant[i + 1] - majorant[i])
            a, b, c = off_axis(u) / sides[0], off_axis(v) / sides[1], off_axis(w) / sides[2]
            flown, m, mu = 0.0, 0, 0.0
            while True:
                flown -= np.log(uniform(stream)) / most
                p, q, r = x + flown * a, y + flown * b, z + flown * c
                lost = p < low[0] or p >= high[0] or q < low[1] or q >= high[1] or r < low[2] or r >= high[2]
                if lost:
                    break
                px, py, pz = np.uint64(held(p, nx)), np.uint64(held(q, ny)), np.uint64(held(r, nz))
                m = tissue[px, py, pz]
                mu = total[i, m] + f * (total[i + 1, m] - total[i, m])
                if uniform(stream) * most < mu * density[px, py, pz]:
                    break
            amount = weight * E * per_volume * step
            for n in range(per_point.shape[0]):
                per_point[n] = amount * (absorbed[i, n] + f * (absorbed[i + 1, n] - absorbed[i, n]))
            first = beside(stream)
            score_track(
                x, y, z, a, b, c, flown, per_point, step, first, low, high, tissue.shape, flat_tissue, flat_tally
            )
            if lost:
                break
            x, y, z = p, q, r
            own = (ln_lowest, per_ln, total, x_squared, bound[m], integral[m])
            pick = uniform(stream) * mu
            pick -= incoherent[i, m] + f * (incoherent[i + 1, m] - incoherent[i, m])
            if pick < 0.0:
                E, cosine = compton(E, own, stream)
                u, v, w = turned(u, v, w, cosine, 2.0 * np.pi * uniform(stream))
                continue
            pick -= coherent[i, m] + f * (coherent[i + 1, m] - coherent[i, m])
            if pick < 0.0:
                u, v, w = turned(u, v, w, rayleigh_cosine(E, own, stream), 2.0 * np.pi * uniform(stream))
                continue
            pick -= photoelectric[i, m] + f * (photoelectric[i + 1, m] - photoelectric[i, m])
            if pick >= 0.0 and E > 2.0 * M and level < waiting.shape[0]:
                waiting[level, 0], waiting[level, 1], waiting[level, 2] = x, y, z
                u, v, w = isotropic(stream)
                waiting[level, 3], waiting[level, 4], waiting[level, 5] = -u, -v, -w
                level += 1
                E = M
                continue
            E = 0.0
        if not lost and E > 0.0 and 0.0 <= x < nx and 0.0 <= y < ny and 0.0 <= z < nz:
            at = held(x, nx), held(y, ny), held(z, nz)
            tally[at] += weight * E * per_volume / density[at]
        if level == 0:
            return
        level -= 1
        x, y, z = waiting[level, 0], waiting[level, 1], waiting[level, 2]
        u, v, w = waiting[level, 3], waiting[level, 4], waiting[level, 5]
        E = M


@compiled
@no_type_check
def photon_batch(first, number, seed, source, spectrum, medium, tables, tally):
    """`number` histories from streams `first` on, spread evenly over the activity.

    `source` is (cumulative decays, voxel, sign) of the voxels with activity, `spectrum` (energies, cumulative share of
    the energy, MeV per decay); every history carries the same energy. `tally` gains MeV/g.
    """
    cumulative, voxels, signs = source
    mev_per_decay = spectrum[2]
    stream, waiting, per_point = np.zeros(1, np.uint64), np.empty((_WAITING, 6)), np.empty(tables[6].shape[1])
    start_stream(stream, seed, first)
    offset, at = uniform(stream), 0
    whole = cumulative[-1]
    for history in range(number):
        start_stream(stream, seed, first + 1 + history)
        at = next_voxel(at, (history + offset) / number, cumulative)
        x, y, z, E = draw_emission(voxels[at], spectrum, tally.shape, stream)
        u, v, w = isotropic(stream)
        weight = signs[at] * whole * mev_per_decay / (number * E)
        follow_photon_in_voxels(x, y, z, u, v, w, E, weight, medium, tables, waiting, per_point, tally, stream)
