"""Numbers as the report prints them: three significant digits, no invented precision."""

import math

NOT_KNOWN = "–"
_MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def three(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits; powers of ten below 1e-3 and from 1e6; a dash where unknown."""
    if not math.isfinite(value):
        return NOT_KNOWN
    if value == 0:
        return "0"
    mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
    power = int(exponent)
    sign = _MINUS if value < 0 else ""
    if -3 <= power < 6:
        return f"{sign}{float(f'{mantissa}e{power}'):.{max(0, digits - 1 - power)}f}"
    return f"{sign}{mantissa}×10{str(power).translate(_SUPERSCRIPT)}"


def with_error(value: float, error: float) -> str:
    """`value ± error`, the error to two significant digits; the value alone where the error is not known."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return three(value)
    return f"{three(value)} ± {three(error, 2)}"


def percent(value: float) -> str:
    """A percentage, one decimal below 10; small shares and near-wholes do not read as 0 and 100."""
    if not math.isfinite(value):
        return NOT_KNOWN
    size, sign = abs(value), _MINUS if value < 0 else ""
    if size < 0.05:
        return "0 %" if size == 0 else "< 0.1 %"
    if 99.5 <= size < 100:
        return f"{sign}{math.floor(size * 10) / 10:.1f} %"
    return f"{sign}{size:.1f} %" if size < 9.95 else f"{sign}{size:.0f} %"


def signed(value: float) -> str:
    """A difference, its sign always shown."""
    text = three(value)
    return f"+{text}" if math.isfinite(value) and value > 0 else text
