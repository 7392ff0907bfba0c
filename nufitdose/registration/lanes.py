"""Cubic splines read with neighbouring coefficients as one number of the processor's, four or eight of them at once.

Written in the compiler's own terms, for of ordinary loops it makes single numbers, at three times the time. Indices are
unsigned and nobody looks whether they lie in the array.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

_REACH = 4  # coefficients along each axis
_FLOAT, _INDEX = ir.FloatType(), ir.IntType(32)


@intrinsic
def read_single(typing_context, flat, at, per_i, per_j, across, along, deep):  # type: ignore[no-untyped-def]
    """`Σ_efg across[e] along[f] deep[g] flat[at + e per_i + f per_j + g]` over 4³, a tuple of one number.

    `flat` is of float32; sums are taken in the order e, f, g.
    """
    return types.UniTuple(types.float32, 1)(flat, at, per_i, per_j, across, along, deep), _build


@intrinsic
def read_pair(typing_context, flat, at, per_i, per_j, across, along, deep):  # type: ignore[no-untyped-def]
    """`read_single` of two channels that take turns: 2g + n in place of g, for n = 0 and n = 1."""
    return types.UniTuple(types.float32, 2)(flat, at, per_i, per_j, across, along, deep), _build


def _build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    count = signature.return_type.count
    lanes = ir.VectorType(_FLOAT, _REACH * count)
    data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
    at, per_i, per_j = arguments[1:4]
    across, along, deep = ([builder.extract_value(w, n) for n in range(_REACH)] for w in arguments[4:7])
    along_everywhere = [_everywhere(builder, lanes, w) for w in along]
    planes = []
    for e in range(_REACH):
        plane = builder.add(at, builder.mul(per_i, ir.Constant(per_i.type, e)))
        rows = []
        for f in range(_REACH):
            row = builder.add(plane, builder.mul(per_j, ir.Constant(per_j.type, f)))
            place = builder.bitcast(builder.gep(data, [row]), lanes.as_pointer())
            rows.append(builder.fmul(along_everywhere[f], builder.load(place, align=4)))
        planes.append(builder.fmul(_everywhere(builder, lanes, across[e]), _sum(builder, rows)))
    total = _sum(builder, planes)
    read = []
    for n in range(count):
        parts = [builder.extract_element(total, ir.Constant(_INDEX, count * g + n)) for g in range(_REACH)]
        read.append(_sum(builder, [builder.fmul(w, part) for w, part in zip(deep, parts, strict=True)]))
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
