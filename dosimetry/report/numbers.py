"""Numbers as the report prints them: three significant digits, no invented precision."""

import math

NOT_KNOWN = "–"
_MINUS = "\N{MINUS SIGN}"
_FIXED_FROM, _FIXED_BELOW = -3, 6  # powers of ten written out
_LEAST_GY = 0.0095
_MOST_DIGITS = 5  # the csv files hold six
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def three(value: float, digits: int = 3) -> str:
    """A number with `digits` significant digits; powers of ten below 1e-3 and from 1e6; a dash where unknown."""
    if not math.isfinite(value):
        return NOT_KNOWN
    power = _power(value, digits)
    if _FIXED_FROM <= power < _FIXED_BELOW:
        return _fixed(value, digits)
    return f"{_fixed(value / 10.0**power, digits)}×10{str(power).translate(_SUPERSCRIPT)}"


def with_error(value: float, error: float) -> str:
    """`value ± error`, both to the second digit of the error; the value alone where the error is not known."""
    if not (math.isfinite(value) and math.isfinite(error) and error > 0):
        return three(value)
    power = max(_power(value, 3), _power(error, 2))
    if _FIXED_FROM <= power < _FIXED_BELOW:
        return f"{_to_digit_of(value, error)} ± {_fixed(error, 2)}"
    value, error = value / 10.0**power, error / 10.0**power
    return f"({_to_digit_of(value, error)} ± {_fixed(error, 2)})×10{str(power).translate(_SUPERSCRIPT)}"


def gray(dose_gy: float, u_gy: float = math.nan) -> str:
    """A dose in Gy with its error; in mGy, and saying so, where in Gy it would read 0.005."""
    if 0 < abs(dose_gy) < _LEAST_GY:
        return f"{with_error(1e3 * dose_gy, 1e3 * u_gy)} mGy"
    return with_error(dose_gy, u_gy)


def tick(number: float, _position: int | None = None) -> str:
    """A number on an axis, as short as it can be."""
    return f"{number:g}" if number == 0 or 1e-3 <= abs(number) < 1e6 else three(number, 2)


def _power(value: float, digits: int) -> int:
    """The power of ten of the leading digit once rounded; 0 for 0."""
    return int(f"{value:.{digits - 1}e}".split("e")[1]) if value else 0


def _fixed(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    power = _power(value, digits)
    text = f"{round(abs(value), digits - 1 - power):.{max(0, digits - 1 - power)}f}"
    return _MINUS + text if value < 0 else text


def _to_digit_of(value: float, error: float) -> str:
    """The value down to the second digit of its error, five digits at most."""
    decimals = min(1 - _power(error, 2), _MOST_DIGITS - 1 - _power(value, _MOST_DIGITS))
    text = f"{round(abs(value), decimals):.{max(0, decimals)}f}"
    return _MINUS + text if value < 0 and float(text) > 0 else text


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


def with_sign(value: float) -> str:
    """A difference, its sign always shown."""
    text = three(value)
    return f"+{text}" if math.isfinite(value) and value > 0 else text


def change_percent(value: float) -> str:
    """A relative difference given in percent, its sign always shown; a dash where unknown."""
    return f"{with_sign(value)} %" if math.isfinite(value) else NOT_KNOWN
