"""One photon through a homogeneous medium of 1 g/cm³, compiled: flights, and what each collision sets free."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np

from dosimetry.dose.transport.electrons import node, push, score, turned
from dosimetry.dose.transport.photon_tables import COHERENT, INCOHERENT, PHOTOELECTRIC, TOTAL
from dosimetry.dose.transport.streams import uniform
from dosimetry.dose.transport.water import ELECTRON_MEV
from nufitdose.compiled import compiled

M = ELECTRON_MEV
ANGSTROM_MEV = 0.0123984198
STOP_MEV = 0.002  # a photon of less energy is absorbed where it is


@compiled
@no_type_check
def on_grid(values, x2, grid):
    """Linear interpolation of values on the grid of x²."""
    upper = min(max(np.searchsorted(grid, x2), 1), grid.shape[0] - 1)
    part = min((x2 - grid[upper - 1]) / (grid[upper] - grid[upper - 1]), 1.0)
    return values[upper - 1] + part * (values[upper] - values[upper - 1])


@compiled
@no_type_check
def on_x_grid(values, x2, grid):
    """`on_grid` for the tables' grid of x², whose nodes after the first are even in ln x²: found without a search."""
    last = grid.shape[0] - 1
    if x2 <= grid[1]:
        return values[0] + x2 / grid[1] * (values[1] - values[0])
    lower = min(1 + int(np.log(x2 / grid[1]) * (last - 1) / np.log(grid[last] / grid[1])), last - 1)
    part = min((x2 - grid[lower]) / (grid[lower + 1] - grid[lower]), 1.0)
    return values[lower] + part * (values[lower + 1] - values[lower])


@compiled
@no_type_check
def compton(E, tables, stream):
    """Energy and cosine of the angle of a photon scattered by a bound electron (Klein-Nishina times S(x)/Z)."""
    _, _, _, x_squared, bound, _ = tables
    k = E / M
    lowest = 1.0 / (1.0 + 2.0 * k)
    a, b = -np.log(lowest), 0.5 * (1.0 - lowest * lowest)
    x2_back = (E / ANGSTROM_MEV) ** 2
    while True:
        if uniform(stream) * (a + b) < a:
            e = np.exp(-a * uniform(stream))
        else:
            e = np.sqrt(lowest * lowest + (1.0 - lowest * lowest) * uniform(stream))
        t = (1.0 - e) / (k * e)
        sine2 = max(t * (2.0 - t), 0.0)
        drawn, free = uniform(stream), 1.0 - e * sine2 / (1.0 + e * e)
        if drawn < free and drawn < free * on_x_grid(bound, 0.5 * t * x2_back, x_squared):
            return e * E, 1.0 - t


@compiled
@no_type_check
def rayleigh_cosine(E, tables, stream):
    """Cosine of the angle of coherent scattering: Thomson's times the squared form factor."""
    _, _, _, x_squared, _, integral = tables
    x2_back = (E / ANGSTROM_MEV) ** 2
    top = on_x_grid(integral, x2_back, x_squared)
    while True:
        drawn = on_grid(x_squared, top * uniform(stream), integral)
        cosine = max(1.0 - 2.0 * drawn / x2_back, -1.0)
        if 2.0 * uniform(stream) < 1.0 + cosine * cosine:
            return cosine


@compiled
@no_type_check
def isotropic(stream):
    """A direction with no preference."""
    w, phi = 2.0 * uniform(stream) - 1.0, 2.0 * np.pi * uniform(stream)
    s = np.sqrt(1.0 - w * w)
    return s * np.cos(phi), s * np.sin(phi), w


@compiled
@no_type_check
def total(E, tables):
    """μ/ρ in cm²/g."""
    ln_lowest, per_ln, values, _, _, _ = tables
    i, f = node(np.log(E), ln_lowest, per_ln, values.shape[0])
    return values[i, TOTAL] + f * (values[i + 1, TOTAL] - values[i, TOTAL])


@compiled
@no_type_check
def follow_photon(particle, collides_at_once, tables, stack, level, tally, shells, starts, stream):
    """Carry one photon to its end, its first collision where it stands if `collides_at_once`.

    Electrons and annihilation quanta go on `stack` as in `follow_electron`; returns its new height.
    """
    ln_lowest, per_ln, values, _, _, _ = tables
    rows = values.shape[0]
    x, y, z, u, v, w, E = particle[0], particle[1], particle[2], particle[3], particle[4], particle[5], particle[6]
    while E > STOP_MEV:
        i, f = node(np.log(E), ln_lowest, per_ln, rows)
        mu = values[i, TOTAL] + f * (values[i + 1, TOTAL] - values[i, TOTAL])
        s = 0.0 if collides_at_once else -np.log(uniform(stream)) / mu
        collides_at_once = False
        x, y, z = x + s * u, y + s * v, z + s * w
        pick = uniform(stream) * mu
        pick -= values[i, INCOHERENT] + f * (values[i + 1, INCOHERENT] - values[i, INCOHERENT])
        if pick < 0.0:
            left, cosine = compton(E, tables, stream)
            phi = 2.0 * np.pi * uniform(stream)
            a, b, c = turned(u, v, w, cosine, phi)
            given = E - left
            if given > 0.0:
                momentum = np.sqrt(given * (given + 2.0 * M))
                p, q, r = (E * u - left * a) / momentum, (E * v - left * b) / momentum, (E * w - left * c) / momentum
                level = push(stack, level, x, y, z, p, q, r, given, 0.0)
            u, v, w, E = a, b, c, left
            continue
        pick -= values[i, COHERENT] + f * (values[i + 1, COHERENT] - values[i, COHERENT])
        if pick < 0.0:
            u, v, w = turned(u, v, w, rayleigh_cosine(E, tables, stream), 2.0 * np.pi * uniform(stream))
            continue
        pick -= values[i, PHOTOELECTRIC] + f * (values[i + 1, PHOTOELECTRIC] - values[i, PHOTOELECTRIC])
        if pick < 0.0 or E <= 2.0 * M:
            a, b, c = isotropic(stream)
            return push(stack, level, x, y, z, a, b, c, E, 0.0)
        share = uniform(stream) * (E - 2.0 * M)
        level = push(stack, level, x, y, z, u, v, w, share, 0.0)
        level = push(stack, level, x, y, z, u, v, w, E - 2.0 * M - share, 0.0)
        a, b, c = isotropic(stream)
        level = push(stack, level, x, y, z, a, b, c, M, 1.0)
        return push(stack, level, x, y, z, -a, -b, -c, M, 1.0)
    score(tally, shells, starts, x, y, z, E)
    return level
