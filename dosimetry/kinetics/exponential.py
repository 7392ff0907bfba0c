"""An exponential that the compiler can vectorise, for the voxel kernels."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, misc, untyped-decorator"

from typing import no_type_check

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nufitdose.compiled import part_of_kernel

LOG2E = 1.4426950408889634
LN2_HIGH = 6.93147180369123816490e-01  # ln 2 in two parts, so that x - k ln 2 keeps its digits
LN2_LOW = 1.90821492927058770002e-10
ROUND = 6755399441055744.0  # 1.5 * 2^52: adding and subtracting it rounds to the nearest integer


@intrinsic
@no_type_check
def _as_float64(typing_context, bits):
    def generate(context, builder, signature, arguments):
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@part_of_kernel
@no_type_check
def decay(x):
    """e^(-x) for x >= 0 to a few units in the last place, as arithmetic that vectorises (libm calls do not).

    e^(-x) = 2^k e^r with k = round(-x / ln 2) and |r| <= ln(2)/2; e^r by its series to r^12.
    """
    x = -min(x, 690.0)
    k = (x * LOG2E + ROUND) - ROUND
    r = (x - k * LN2_HIGH) - k * LN2_LOW
    series = 1.0 / 479001600.0
    series = series * r + 1.0 / 39916800.0
    series = series * r + 1.0 / 3628800.0
    series = series * r + 1.0 / 362880.0
    series = series * r + 1.0 / 40320.0
    series = series * r + 1.0 / 5040.0
    series = series * r + 1.0 / 720.0
    series = series * r + 1.0 / 120.0
    series = series * r + 1.0 / 24.0
    series = series * r + 1.0 / 6.0
    series = series * r + 0.5
    series = series * r + 1.0
    series = series * r + 1.0
    return series * _as_float64((types.int64(types.int32(k)) + 1023) << 52)
