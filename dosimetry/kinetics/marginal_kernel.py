"""The likelihood of many curves of one shape each, compiled: the size of a curve integrated in closed form.

One kernel serves all models: f = s g/|g| with g = (1 - α) e₁ + α e₂ - e₃ at the scans, in units of their σ; where a
model has no early phase α = 0, where it has no uptake λ₃ is infinite. For data z = y/σ and a flat prior of s >= 0,

∫ e^(-|z - s g/|g||²/2) ds = √(2π) e^(-(|z|² - ρ²)/2) Φ(ρ),  ρ = z·g/|g|,

and s is then normal with mean ρ and deviation 1, cut at 0.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from math import erfc, inf, log, sqrt
from typing import no_type_check

from dosimetry.kinetics.exponential import decay
from nufitdose.compiled import compiled, part_of_kernel


@part_of_kernel
@no_type_check
def log_normal_below(rho):
    """ln Φ(ρ), by its asymptotic form far below 0."""
    if rho > 6.0:
        return 0.0
    if rho < -30.0:
        return -0.5 * rho * rho - log(-rho) - 0.9189385332046727
    return log(0.5 * erfc(-rho / 1.4142135623730951))


@compiled
@no_type_check
def weigh_shapes(z, sigma, times_h, rates_per_h, shares, ordered, out):
    """Fill `out` [3, shapes]: ln of the integral but for √(2π) e^(-|z|²/2), ρ, and Ã of the curve of size s = 1.

    `rates_per_h` [shapes, 3] are λ_j, `shares` [shapes] α. `ordered` asks for e₂ faster than e₁, and e₃ has to be
    faster than both: shapes that break it get -inf.
    """
    for k in range(shares.size):
        slow, early, uptake, share = rates_per_h[k, 0], rates_per_h[k, 1], rates_per_h[k, 2], shares[k]
        out[0, k] = -inf
        if (ordered and early <= slow) or uptake <= max(slow, early if ordered else slow):
            continue
        squares, product = 0.0, 0.0
        for i in range(times_h.size):
            g = (1.0 - share) * decay(slow * times_h[i])
            if share > 0.0:
                g += share * decay(early * times_h[i])
            if uptake < inf:
                g -= decay(uptake * times_h[i])
            g /= sigma[i]
            squares += g * g
            product += g * z[i]
        if squares > 0.0:
            norm = sqrt(squares)
            rho = product / norm
            out[0, k] = 0.5 * rho * rho + log_normal_below(rho)
            out[1, k] = rho
            out[2, k] = ((1.0 - share) / slow + share / early - 1.0 / uptake) / norm
