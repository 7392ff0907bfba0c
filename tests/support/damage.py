"""Damage done to files, the same for the same seed: to bytes, to the values of YAML and JSON, to DICOM attributes."""

import io
import json
import random
import re
import struct
import warnings
from typing import Any

from pydicom import dcmread
from pydicom.datadict import dictionary_VR
from pydicom.dataset import Dataset

#: What a value may be that should not be there.
HOSTILE = (
    "", "abc", "-1", "0", "nan", "inf", "-inf", "1e400", "1e-320", "1e30", "9" * 70, "9" * 5000, "1\\2", "\\\\",
    "20249999", "ü", "../../x", "/etc/passwd", "..\\..\\x", "a" * 3000, "=1+1", "@SUM(A1)", "<script>", "2147483648",
    "-2147483649", "65536", "\x1b[31mred", "\x00", "\u202etxt", "1;2", "true", "null", "1.2.3.4.5.6.7.8.9" * 9,
    "%s%n{0}",
    "C:\\x", "~/x",
)  # fmt: skip
_NUMBERS = tuple(
    struct.pack(order + kind, value)
    for order in "<>"
    for kind, values in {
        "h": (0, -1, 1, 32767, -32768),
        "i": (0, -1, 1, 2**31 - 1, -(2**31), 1 << 20),
        "f": (0.0, float("nan"), float("inf"), 1e30, -1e30, 1e-30),
    }.items()
    for value in values
)


def spoil_bytes(content: bytes, chance: random.Random) -> bytes:
    """One to four wounds anywhere, most of them near the start, where headers are."""
    found = bytearray(content)
    for _ in range(chance.randint(1, 4)):
        _wound(found, chance)
    return bytes(found)


def _wound(content: bytearray, chance: random.Random) -> None:
    if not content:
        return
    reach = len(content) if chance.random() < 0.4 else min(len(content), 400)
    at = chance.randrange(reach)
    end = min(len(content), at + chance.choice((1, 2, 4, 8, 64, 1000)))
    match chance.randrange(8):
        case 0:
            content[at] ^= 1 << chance.randrange(8)
        case 1 | 2:
            number = chance.choice(_NUMBERS)
            content[at : at + len(number)] = number
        case 3:
            content[at:end] = chance.randbytes(end - at)
        case 4:
            del content[at:end]
        case 5:
            content[at:at] = content[at:end]
        case 6:
            content[at:end] = bytes(end - at)
        case _:
            del content[at:]


def spoil_yaml(content: bytes, chance: random.Random) -> bytes:
    """A value, a line or a few characters of a text of settings are other than they were."""
    lines = content.decode("utf-8").splitlines()
    for _ in range(chance.choice((1, 1, 2))):
        at = chance.randrange(len(lines)) if lines else 0
        match chance.randrange(7 if lines else 1):
            case 0:
                lines.insert(
                    at, chance.choice(("x: &x [*x]", "<<: *x", "a: [" * 80, "- 1", "\t", "---", "%YAML 9.9", "? [a]"))
                )
            case 1 | 2 | 3:
                value = json.dumps(chance.choice(HOSTILE)) if chance.random() < 0.5 else chance.choice(HOSTILE)
                lines[at] = re.sub(r"(:\s+|-\s+)[^:{\[]*$", lambda m, v=value: m[1] + v, lines[at])
            case 4:
                del lines[at]
            case 5:
                lines.insert(at, lines[at])
            case _:
                place = chance.randint(0, len(lines[at]))
                lines[at] = lines[at][:place] + chance.choice("{}[]:'\"#&*!|>%@\t\x00é, -") + lines[at][place:]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def spoil_json(content: bytes, chance: random.Random) -> bytes:
    """A value of a JSON text is another, of any type, or is not there."""
    whole = json.loads(content)
    for _ in range(chance.randint(1, 2)):
        holder: Any = whole
        while True:
            key = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
            inner = holder[key]
            if not (isinstance(inner, dict | list) and inner) or chance.random() < 0.3:
                break
            holder = inner
        other = chance.choice([*HOSTILE, 0, -1, 1e308, 10**40, True, None, [], {}, [[]], {"a": {}}, float("nan")])
        if chance.random() < 0.2 and isinstance(holder, dict) and len(holder) > 1:
            del holder[key]
        else:
            holder[key] = other
    return json.dumps(whole).encode()


def spoil_dicom(content: bytes, chance: random.Random) -> bytes:
    """The text of one or two attributes, at any depth, is another or the attribute is not there."""
    dataset = dcmread(io.BytesIO(content))
    for _ in range(chance.randint(1, 2)):
        elements = [element for element in dataset.iterall() if element.keyword and element.VR != "SQ"]
        keyword = chance.choice(sorted({element.keyword for element in elements} - {"PixelData"}))
        if chance.random() < 0.25:
            drop_attribute(dataset, keyword)
        else:
            mangle_attribute(dataset, keyword, chance.choice(HOSTILE))
    written = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset.save_as(written, enforce_file_format=False)
    except Exception:  # what cannot be written so is damaged in its bytes
        return spoil_bytes(content, chance)
    return written.getvalue()


def drop_attribute(dataset: Dataset, keyword: str) -> None:
    """Take an attribute away wherever it stands."""
    for element in list(dataset):
        if element.keyword == keyword:
            del dataset[element.tag]
        elif element.VR == "SQ":
            for item in element.value:
                drop_attribute(item, keyword)


def mangle_attribute(dataset: Dataset, keyword: str, text: str) -> None:
    """Put raw text where the attribute's value was, whatever it should be."""
    for element in list(dataset):
        if element.keyword == keyword and element.VR != "SQ":
            raw = text.encode("utf-8", "replace")
            dataset.add_new(element.tag, dictionary_VR(element.tag).split(" ")[0], None)
            dataset[element.tag].VR = "UN"
            dataset[element.tag]._value = raw + b" " * (len(raw) % 2)
        elif element.VR == "SQ":
            for item in element.value:
                mangle_attribute(item, keyword, text)
