"""One electron through water, step by step, compiled: soft losses and turns at a random hinge, hard ones one by one."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

import numpy as np

from dosimetry.dose.transport.electron_tables import (
    BETA2,
    ELASTIC,
    MAJORANT,
    MOLLER,
    MU_CUT,
    RADIATIVE,
    SCREENING,
    SOFT_LOSS,
    SOFT_T1,
    SOFT_T2,
    STRAGGLING,
)
from dosimetry.dose.transport.streams import uniform
from dosimetry.dose.transport.water import ELECTRON_MEV, FINE_STRUCTURE
from nufitdose.compiled import compiled

M = ELECTRON_MEV
OXYGEN = 8.0
LARGEST_LOSS = 0.15  # of the energy, in one step


@compiled
@no_type_check
def turned(u, v, w, cos_turn, phi):
    """The direction after a turn by the angle of cosine `cos_turn` at azimuth `phi`."""
    sin_turn = np.sqrt(max(0.0, 1.0 - cos_turn * cos_turn))
    c, s = np.cos(phi) * sin_turn, np.sin(phi) * sin_turn
    across = u * u + v * v
    if across < 1e-20:
        return c, s * np.sign(w), cos_turn * np.sign(w)
    root = np.sqrt(across)
    a = u * cos_turn + (u * w * c - v * s) / root
    b = v * cos_turn + (v * w * c + u * s) / root
    d = w * cos_turn - root * c
    norm = 1.0 / np.sqrt(a * a + b * b + d * d)
    return a * norm, b * norm, d * norm


@compiled
@no_type_check
def node(ln_energy, ln_lowest, per_ln, rows):
    """Lower node and the part of the way to the next, on a uniform grid of ln E."""
    place = min(max((ln_energy - ln_lowest) * per_ln, 0.0), rows - 1.000001)
    lower = int(place)
    return lower, place - lower


@compiled
@no_type_check
def soft_loss(mean, variance, stream):
    """A loss of this mean and variance: Gauss cut at 3 sigma, or what stays positive (PENELOPE's rule)."""
    if mean * mean > 9.0 * variance:
        while True:
            z = np.sqrt(-2.0 * np.log(uniform(stream))) * np.cos(2.0 * np.pi * uniform(stream))
            if abs(z) < 3.0:
                return mean + z * 1.015387 * np.sqrt(variance)
    if mean * mean > 3.0 * variance:
        return mean + (2.0 * uniform(stream) - 1.0) * np.sqrt(3.0 * variance)
    spread = 3.0 * (variance + mean * mean)
    if uniform(stream) < (3.0 * variance - mean * mean) / spread:
        return 0.0
    return uniform(stream) * spread / (2.0 * mean)


@compiled
@no_type_check
def soft_turn(t1_s, t2_s, stream):
    """Cosine of the angle after soft scattering with the moments of Goudsmit and Saunderson's distribution."""
    mean = -0.5 * np.expm1(-t1_s)
    square = mean + np.expm1(-t2_s) / 6.0
    edge = min(max((2.0 * mean - 3.0 * square) / max(1.0 - 2.0 * mean, 1e-9), 0.0), 1.0)
    low, high = (0.0, edge) if uniform(stream) < 1.0 - 2.0 * mean + edge else (edge, 1.0)
    return 1.0 - 2.0 * (low + uniform(stream) * (high - low))


@compiled
@no_type_check
def elastic_turn(mu_cut, eta, beta2, stream):
    """Cosine of the angle of a hard elastic event."""
    high, low = 1.0 / (mu_cut + eta), 1.0 / (1.0 + eta)
    b = np.pi * FINE_STRUCTURE * OXYGEN * np.sqrt(beta2)
    while True:
        mu = min(max(1.0 / (low + (high - low) * uniform(stream)) - eta, 0.0), 1.0)
        root = np.sqrt(mu)
        if uniform(stream) * (1.0 + 0.25 * b) < 1.0 - beta2 * mu + b * root * (1.0 - root):
            return 1.0 - 2.0 * mu


@compiled
@no_type_check
def moller_loss(E, cut, stream):
    """Energy given to another electron in a hard collision."""
    a = (E / (E + M)) ** 2
    b = (2.0 * E + M) * M / (E + M) ** 2
    low, high = 2.0 / E, 1.0 / cut
    while True:
        W = 1.0 / (low + (high - low) * uniform(stream))
        r = W / (E - W)
        if uniform(stream) * 2.25 < 1.0 + r * r + a * (W / E) ** 2 - b * r:
            return W


@compiled
@no_type_check
def bremsstrahlung_cosine(beta2, stream):
    """Direction of a photon against its electron's: isotropic in the electron's frame, carried forward."""
    beta = np.sqrt(beta2)
    c = 2.0 * uniform(stream) - 1.0
    return (c + beta) / (1.0 + beta * c)


@compiled
@no_type_check
def score(tally, shells, starts, x, y, z, energy):
    """Add the energy to the shell at (x, y, z), once for each start.

    `shells` is (logarithmic, origin, per unit): shell 0 lies below the origin, the last beyond the outermost radius.
    `starts` has rows (distance, weight): the history is scored as if it began that far up the z axis, which a
    homogeneous medium allows.
    """
    logarithmic, origin, per_unit = shells
    across = x * x + y * y
    for start in range(starts.shape[0]):
        along = z + starts[start, 0]
        r2 = across + along * along
        place = 0.5 * np.log(max(r2, 1e-30)) if logarithmic else np.sqrt(r2)
        place = (place - origin) * per_unit
        index = 0 if place < 0.0 else min(int(place) + 1, tally.shape[0] - 1)
        tally[index] += starts[start, 1] * energy


@compiled
@no_type_check
def soft_step(E, tables, stream):
    """One step of soft collisions: its length (g/cm²) to the hinge and in all, the energy lost and the cosine turned.

    The last of the five values is the majorant of hard events where one may end the step, else zero.
    """
    ln_lowest, per_ln, values, _, _ = tables
    rows = values.shape[0]
    i, f = node(np.log(E), ln_lowest, per_ln, rows)
    majorant = values[i, MAJORANT] + f * (values[i + 1, MAJORANT] - values[i, MAJORANT])
    loss_per_cm = values[i, SOFT_LOSS] + f * (values[i + 1, SOFT_LOSS] - values[i, SOFT_LOSS])
    s = -np.log(uniform(stream)) / majorant
    longest = LARGEST_LOSS * E / loss_per_cm
    collides = s < longest
    s = min(s, longest)
    hinge = s * uniform(stream)
    i, f = node(np.log(E - 0.5 * loss_per_cm * s), ln_lowest, per_ln, rows)  # halfway, where a step's means lie
    loss_per_cm = values[i, SOFT_LOSS] + f * (values[i + 1, SOFT_LOSS] - values[i, SOFT_LOSS])
    variance = values[i, STRAGGLING] + f * (values[i + 1, STRAGGLING] - values[i, STRAGGLING])
    lost = min(soft_loss(loss_per_cm * s, variance * s, stream), E)
    t1 = values[i, SOFT_T1] + f * (values[i + 1, SOFT_T1] - values[i, SOFT_T1])
    t2 = values[i, SOFT_T2] + f * (values[i + 1, SOFT_T2] - values[i, SOFT_T2])
    return hinge, s, lost, soft_turn(t1 * s, t2 * s, stream), majorant if collides else 0.0


@compiled
@no_type_check
def hard_event(x, y, z, u, v, w, E, majorant, tables, stack, level, stream):
    """What ends a step: elastic scattering, a new electron or a photon on `stack`, or nothing (the majorant's rest).

    Returns direction, energy and the height of the stack.
    """
    ln_lowest, per_ln, values, photon_mev, stop_mev = tables
    i, f = node(np.log(E), ln_lowest, per_ln, values.shape[0])
    pick = uniform(stream) * majorant
    beta2 = values[i, BETA2] + f * (values[i + 1, BETA2] - values[i, BETA2])
    pick -= values[i, ELASTIC] + f * (values[i + 1, ELASTIC] - values[i, ELASTIC])
    if pick < 0.0:
        cut = values[i, MU_CUT] + f * (values[i + 1, MU_CUT] - values[i, MU_CUT])
        eta = values[i, SCREENING] + f * (values[i + 1, SCREENING] - values[i, SCREENING])
        u, v, w = turned(u, v, w, elastic_turn(cut, eta, beta2, stream), 2.0 * np.pi * uniform(stream))
        return u, v, w, E, level
    pick -= values[i, MOLLER] + f * (values[i + 1, MOLLER] - values[i, MOLLER])
    if pick < 0.0:
        if 2.0 * stop_mev < E:
            W = moller_loss(E, stop_mev, stream)
            phi = 2.0 * np.pi * uniform(stream)
            cos_new = np.sqrt(W * (E + 2.0 * M) / (E * (W + 2.0 * M)))
            a, b, c = turned(u, v, w, cos_new, phi + np.pi)
            level = push(stack, level, x, y, z, a, b, c, W, 0.0)
            cos_old = np.sqrt((E - W) * (E + 2.0 * M) / (E * (E - W + 2.0 * M)))
            u, v, w = turned(u, v, w, cos_old, phi)
            E -= W
        return u, v, w, E, level
    pick -= values[i, RADIATIVE] + f * (values[i + 1, RADIATIVE] - values[i, RADIATIVE])
    if pick < 0.0:
        place = uniform(stream) * (photon_mev.shape[1] - 1)
        j = int(place)
        row = i + 1 if uniform(stream) < f else i
        k = min(photon_mev[row, j] + (place - j) * (photon_mev[row, j + 1] - photon_mev[row, j]), E)
        a, b, c = turned(u, v, w, bremsstrahlung_cosine(beta2, stream), 2.0 * np.pi * uniform(stream))
        level = push(stack, level, x, y, z, a, b, c, k, 1.0)
        E -= k
    return u, v, w, E, level


@compiled
@no_type_check
def follow_electron(particle, tables, stack, level, tally, shells, starts, stream):
    """Carry one electron to its end.

    `particle` holds x, y, z, u, v, w, E. What it gives to the medium is added to the shells of `tally` (`score`);
    new electrons and photons go on `stack` (rows x, y, z, u, v, w, E, kind; 0 electron, 1 photon), whose new
    height is returned.
    """
    stop_mev = tables[4]
    x, y, z, u, v, w, E = particle[0], particle[1], particle[2], particle[3], particle[4], particle[5], particle[6]
    while stop_mev < E:
        hinge, s, lost, cosine, majorant = soft_step(E, tables, stream)
        x, y, z = x + hinge * u, y + hinge * v, z + hinge * w
        score(tally, shells, starts, x, y, z, lost)
        u, v, w = turned(u, v, w, cosine, 2.0 * np.pi * uniform(stream))
        x, y, z = x + (s - hinge) * u, y + (s - hinge) * v, z + (s - hinge) * w
        E -= lost
        if stop_mev < E and majorant > 0.0:
            u, v, w, E, level = hard_event(x, y, z, u, v, w, E, majorant, tables, stack, level, stream)
    score(tally, shells, starts, x, y, z, E)
    return level


@compiled
@no_type_check
def push(stack, level, x, y, z, u, v, w, E, kind):
    """Put a particle on the stack; returns the new height."""
    stack[level, 0], stack[level, 1], stack[level, 2] = x, y, z
    stack[level, 3], stack[level, 4], stack[level, 5] = u, v, w
    stack[level, 6], stack[level, 7] = E, kind
    return level + 1
