"""Sums, derivatives and variance of a curve with two given rates, compiled; letters as in `two_rate_kernels`."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from math import exp, inf, log, sqrt
from typing import no_type_check

from dosimetry.kinetics.status import FitStatus
from nufitdose.compiled import part_of_kernel

UPTAKE_CLEARANCE = int(FitStatus.UPTAKE_CLEARANCE)
# Scratch is one-dimensional; these are its places, the matrices by their upper halves.
D00, D01, D11, P00, P01, P11, Q00, Q01, Q11, G0, G1, H0, H1 = range(13)
HESSIAN, NORMAL = 13, 16


@part_of_kernel
@no_type_check
def distance(prior, j, rate, rate_p):
    """((ln(λ - λ_p) - m_j)/s_j)², 0 without a prior."""
    if prior[j, 1] == 0.0:
        return 0.0
    away = log(max(rate - rate_p, 1e-9 * rate_p)) - prior[j, 0]
    return prior[j, 1] * away * away


@part_of_kernel
@no_type_check
def project(value, w, t, code, rate, c, e, sums):
    """e_j, c_j and ½ Σ w r² at these rates; infinite where an amplitude is not positive; d into the sums."""
    d00, d01, d11, n0, n1 = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(t.size):
        a, b = exp(-rate[0] * t[i]), exp(-rate[1] * t[i])
        e[0, i], e[1, i] = a, b
        d00 += w[i] * a * a
        d01 += w[i] * a * b
        d11 += w[i] * b * b
        n0 += w[i] * value[i] * a
        n1 += w[i] * value[i] * b
    sums[D00], sums[D01], sums[D11] = d00, d01, d11
    c[0], c[1] = _inverse(code, sums, n0, n1)
    if not (c[0] > 0.0 and (c[1] > 0.0 or code == UPTAKE_CLEARANCE)):
        return inf
    squares = 0.0
    for i in range(t.size):
        r = value[i] - c[0] * e[0, i] - c[1] * e[1, i]
        squares += w[i] * r * r
    return 0.5 * squares


@part_of_kernel
@no_type_check
def _inverse(code, sums, n0, n1):
    """Mᵀ(M d Mᵀ)⁻¹M n."""
    if code == UPTAKE_CLEARANCE:
        a = (n0 - n1) / (sums[D00] - 2.0 * sums[D01] + sums[D11])
        return a, -a
    determinant = sums[D00] * sums[D11] - sums[D01] * sums[D01]
    return (n0 * sums[D11] - n1 * sums[D01]) / determinant, (n1 * sums[D00] - n0 * sums[D01]) / determinant


@part_of_kernel
@no_type_check
def moments(value, w, t, c, e, sums):
    """p, q, g and h into the sums."""
    for k in range(P00, H1 + 1):
        sums[k] = 0.0
    for i in range(t.size):
        a, b, tau = e[0, i], e[1, i], t[i]
        wt = w[i] * tau
        wtt = wt * tau
        r = value[i] - c[0] * a - c[1] * b
        sums[P00] += wt * a * a
        sums[P01] += wt * a * b
        sums[P11] += wt * b * b
        sums[Q00] += wtt * a * a
        sums[Q01] += wtt * a * b
        sums[Q11] += wtt * b * b
        sums[G0] += wt * r * a
        sums[G1] += wt * r * b
        sums[H0] += wtt * r * a
        sums[H1] += wtt * r * b


@part_of_kernel
@no_type_check
def curvature(code, prior, rate_p, rate, c, sums):
    """Gradient of S in ln λ; its Hessian, and that without residuals (Gauss-Newton), into the sums."""
    for i in range(2):
        for j in range(i, 2):
            p0i, p1i = sums[P00 + i], sums[P01 + i]
            p0j, p1j = sums[P00 + j], sums[P01 + j]
            size = rate[i] * rate[j] * c[j]
            straight = c[i] * sums[Q00 + i + j]
            change0, change1 = _inverse(code, sums, c[i] * p0i, c[i] * p1i)
            sums[NORMAL + i + j] = size * (straight - change0 * p0j - change1 * p1j)
            own0, own1 = (sums[G0], 0.0) if i == 0 else (0.0, sums[G1])
            change0, change1 = _inverse(code, sums, c[i] * p0i - own0, c[i] * p1i - own1)
            bent = size * (straight - change0 * p0j - change1 * p1j)
            bent += rate[i] * rate[j] * (change0 if j == 0 else change1) * sums[G0 + j]
            if i == j:
                bent += rate[i] * c[i] * (sums[G0 + i] - rate[i] * sums[H0 + i])
            sums[HESSIAN + i + j] = bent
    gradient0, gradient1 = rate[0] * c[0] * sums[G0], rate[1] * c[1] * sums[G1]
    if prior[0, 1] > 0.0:
        gradient0 += _pull(prior, rate_p, rate, 0, sums)
    if prior[1, 1] > 0.0:
        gradient1 += _pull(prior, rate_p, rate, 1, sums)
    return gradient0, gradient1


@part_of_kernel
@no_type_check
def _pull(prior, rate_p, rate, j, sums):
    """Derivative of the prior's part of S in ln λ_j; its curvature is added to both Hessians."""
    k = rate[j] / (rate[j] - rate_p)
    away = log(rate[j] - rate_p) - prior[j, 0]
    sums[NORMAL + 2 * j] += prior[j, 1] * k * k
    sums[HESSIAN + 2 * j] += prior[j, 1] * (k * k + away * (k - k * k))
    return prior[j, 1] * away * k


@part_of_kernel
@no_type_check
def variance_of_tia(rate, limit, code, prior, rate_p, c, sums, matrix):
    """Number of rates off their bounds, and gᵀ(JᵀWJ)⁻¹g over amplitudes and those rates; negative where singular.

    J = (M e, -c_j t e_j), g = (M/λ, -c_j/λ_j²); JᵀWJ is made of d, p and q, and of 1/(s_j (λ_j - λ_p))² where there is
    a prior; solved by Cholesky after scaling. `matrix` [5, 4] is scratch.
    """
    g = matrix[4]
    k = 0
    if code == UPTAKE_CLEARANCE:
        k = 1
        matrix[0, 0] = sums[D00] - 2.0 * sums[D01] + sums[D11]
        g[0] = 1.0 / rate[0] - 1.0 / rate[1]
    else:
        k = 2
        matrix[0, 0], matrix[0, 1], matrix[1, 1] = sums[D00], sums[D01], sums[D11]
        g[0], g[1] = 1.0 / rate[0], 1.0 / rate[1]
    amplitudes = k
    for j in range(2):
        if not limit[j, 0] < rate[j] < limit[j, 1]:
            continue
        if code == UPTAKE_CLEARANCE:
            matrix[0, k] = -c[j] * (sums[P00 + j] - sums[P01 + j])
        else:
            matrix[0, k], matrix[1, k] = -c[j] * sums[P00 + j], -c[j] * sums[P01 + j]
        if k > amplitudes:
            matrix[k - 1, k] = c[0] * c[1] * sums[Q01]
        matrix[k, k] = c[j] * c[j] * sums[Q00 + 2 * j]
        if prior[j, 1] > 0.0:
            matrix[k, k] += prior[j, 1] / (rate[j] - rate_p) ** 2
        g[k] = -c[j] / (rate[j] * rate[j])
        k += 1
    for i in range(k):
        if not matrix[i, i] > 0.0:
            return k - amplitudes, -1.0
    variance = 0.0
    for i in range(k):
        scale = 1.0 / sqrt(matrix[i, i])
        g[i] *= scale
        for m in range(k):
            if m > i:
                matrix[i, m] *= scale
            elif m < i:
                matrix[m, i] *= scale
    for i in range(k):
        pivot, right = 1.0, g[i]
        for m in range(i):
            pivot -= matrix[m, i] * matrix[m, i]
            right -= matrix[m, i] * g[m]
        if not pivot > 1e-13:
            return k - amplitudes, -1.0
        root = sqrt(pivot)
        g[i] = right / root
        variance += g[i] * g[i]
        for n in range(i + 1, k):
            inner = matrix[i, n]
            for m in range(i):
                inner -= matrix[m, i] * matrix[m, n]
            matrix[i, n] = inner / root
    return k - amplitudes, variance
