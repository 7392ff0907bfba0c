"""Sums over rows of an image, for splines: neighbouring numbers are one number of the processor's, four or eight long.

Written in the compiler's own terms, for of ordinary loops it makes single numbers, at three times the time. Sums are
taken in one order, whatever the processor has. Indices are unsigned, and nobody looks whether they lie in the array.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_REACH = 4  # rows along both axes
_INDEX = ir.IntType(32)


@intrinsic
def four_of_rows(typing_context, flat, at, per_i, per_j, across, along):  # type: ignore[no-untyped-def]
    """`Σ_e across[e] Σ_f along[f] flat[at + e per_i + f per_j + n]` over 4 x 4 rows, for n from 0 to 3."""
    return types.UniTuple(flat.dtype, 4)(flat, at, per_i, per_j, across, along), _build


@intrinsic
def eight_of_rows(typing_context, flat, at, per_i, per_j, across, along):  # type: ignore[no-untyped-def]
    """`four_of_rows` for n from 0 to 7."""
    return types.UniTuple(flat.dtype, 8)(flat, at, per_i, per_j, across, along), _build


def _build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    count = signature.return_type.count
    lanes = ir.VectorType(context.get_value_type(signature.return_type.dtype), count)
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    at, per_i, per_j = arguments[1:4]
    across, along = (
        [_everywhere(builder, lanes, builder.extract_value(weights, n)) for n in range(_REACH)]
        for weights in arguments[4:6]
    )
    planes = []
    for e in range(_REACH):
        plane = builder.add(at, builder.mul(per_i, ir.Constant(per_i.type, e)))
        rows = []
        for f in range(_REACH):
            row = builder.add(plane, builder.mul(per_j, ir.Constant(per_j.type, f)))
            place = builder.bitcast(builder.gep(data, [row]), lanes.as_pointer())
            rows.append(builder.fmul(along[f], builder.load(place, align=signature.return_type.dtype.bitwidth // 8)))
        planes.append(builder.fmul(across[e], _sum(builder, rows)))
    total = _sum(builder, planes)
    read = [builder.extract_element(total, ir.Constant(_INDEX, n)) for n in range(count)]
    return context.make_tuple(builder, signature.return_type, read)


def _everywhere(builder: Any, lanes: Any, number: Any) -> Any:
    nothing = ir.Constant(lanes, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.Constant(_INDEX, 0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(_INDEX, lanes.count), [0] * lanes.count))


def _sum(builder: Any, terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = builder.fadd(total, term)
    return total
