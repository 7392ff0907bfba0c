"""Photons through voxels of tissue, compiled: Woodcock's flights, and energy scored along every track.

Flights are drawn with the largest attenuation anywhere, and a collision counts with the probability μ/μ_max (Woodcock
et al. 1965), so that no border between tissues has to be found. Each flight leaves E · l · μ_tr/ρ on its way through a
voxel (track-length estimator): where it passes is known, and only how much of it would be absorbed is a mean. Positions
are in voxels, directions in voxels per cm.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np

from dosimetry.dose.transport.electrons import node, turned
from dosimetry.dose.transport.photons import STOP_MEV, M, compton, isotropic, rayleigh_cosine
from dosimetry.dose.transport.streams import start_stream, uniform
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
def score_track(x, y, z, a, b, c, length, per_cm, tissue, low, high, tally):
    """Add l times its tissue's `per_cm` to every voxel that a track along (a, b, c) passes between two corners."""
    nx, ny, nz = tissue.shape
    start, end = 0.0, length
    per_a, per_b, per_c = 1.0 / a, 1.0 / b, 1.0 / c
    for position, per_step, least, most in (
        (x, per_a, max(low[0], 0.0), min(high[0], nx)),
        (y, per_b, max(low[1], 0.0), min(high[1], ny)),
        (z, per_c, max(low[2], 0.0), min(high[2], nz)),
    ):
        near, far = (least - position) * per_step, (most - position) * per_step
        start, end = max(start, min(near, far)), min(end, max(near, far))
    if start >= end:
        return
    i, j, k = held(x + start * a, nx), held(y + start * b, ny), held(z + start * c, nz)
    to_x, across_x = ((i + 1 if a > 0.0 else i) - x) * per_a, abs(per_a)
    to_y, across_y = ((j + 1 if b > 0.0 else j) - y) * per_b, abs(per_b)
    to_z, across_z = ((k + 1 if c > 0.0 else k) - z) * per_c, abs(per_c)
    next_x, next_y, next_z = 1 if a > 0.0 else -1, 1 if b > 0.0 else -1, 1 if c > 0.0 else -1
    at = start
    while True:
        p, q, r = np.uint64(i), np.uint64(j), np.uint64(k)  # unsigned: no test for indices from the end
        amount = per_cm[tissue[p, q, r]]
        leaves = min(to_x, to_y, to_z)
        if leaves >= end:
            tally[p, q, r] += amount * (end - at)
            return
        tally[p, q, r] += amount * (leaves - at)
        at = leaves
        if leaves == to_x:
            i += next_x
            to_x += across_x
            if i < 0 or i >= nx:
                return
        elif leaves == to_y:
            j += next_y
            to_y += across_y
            if j < 0 or j >= ny:
                return
        else:
            k += next_z
            to_z += across_z
            if k < 0 or k >= nz:
                return


@compiled
@no_type_check
def off_axis(u):
    """A component of a direction that can be divided by."""
    return u if abs(u) > 1e-9 else 1e-9


@compiled
@no_type_check
def follow_photon_in_voxels(x, y, z, u, v, w, E, weight, medium, tables, waiting, per_cm, tally, stream):
    """Carry one photon and its annihilation quanta to their end.

    `medium` is (density, tissue, majorant, sides, low, high): g/cm³ and row of `tables` by voxel, largest attenuation
    by energy (1/cm), voxel sides in cm, and where transport ends, in voxels; beyond the grid its outermost voxels go
    on. `tally` gains MeV/g times `weight`.
    """
    density, tissue, majorant, sides, low, high = medium
    ln_lowest, per_ln, total, incoherent, coherent, photoelectric, absorbed, x_squared, bound, integral = tables
    nx, ny, nz = tissue.shape
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
            amount = weight * E * per_volume
            for n in range(per_cm.shape[0]):
                per_cm[n] = amount * (absorbed[i, n] + f * (absorbed[i + 1, n] - absorbed[i, n]))
            score_track(x, y, z, a, b, c, flown, per_cm, tissue, low, high, tally)
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
    stream, waiting, per_cm = np.zeros(1, np.uint64), np.empty((_WAITING, 6)), np.empty(tables[6].shape[1])
    start_stream(stream, seed, first)
    offset, at = uniform(stream), 0
    whole = cumulative[-1]
    for history in range(number):
        start_stream(stream, seed, first + 1 + history)
        at = next_voxel(at, (history + offset) / number, cumulative)
        x, y, z, E = draw_emission(voxels[at], spectrum, tally.shape, stream)
        u, v, w = isotropic(stream)
        weight = signs[at] * whole * mev_per_decay / (number * E)
        follow_photon_in_voxels(x, y, z, u, v, w, E, weight, medium, tables, waiting, per_cm, tally, stream)
