"""What was administered, as a PT or NM object says it: nuclide, half-life, activity.

Radionuclides are coded in CID 18 and CID 4020 of PS3.16 with SNOMED codes, new (SCT) or old (SRT, SNM3,
99SDM); systems also write codes of their own whose meaning is readable.
"""

import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.claims import radiopharmaceutical
from nufitdose.io.dicom.read.headers import Header
from nufitdose.nuclides import canonical_name, half_life_h

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_HALF_LIFE_TOLERANCE = 0.005
_GIVE_NUCLIDE = "Give the nuclide with --nuclide, as Lu-177"
_GIVE_ACTIVITY = "Give the administered activity with --administered-mbq"
_OLD_SNOMED = {"SRT", "SNM3", "99SDM", "SNM"}

#: nuclide -> SNOMED CT code, SNOMED RT code
_CODES = {
    "C-11": ("40565003", "C-105A1"),
    "N-13": ("21576001", "C-107A1"),
    "O-15": ("129504001", "C-B1038"),
    "F-18": ("77004003", "C-111A1"),
    "P-32": ("32505007", "C-106A1"),
    "Cu-61": ("71425003", "C-127A1"),
    "Cu-62": ("422934004", "C-127A5"),
    "Cu-64": ("3932008", "C-127A2"),
    "Cu-67": ("53700003", "C-127A3"),
    "Ga-67": ("2008008", "C-131A2"),
    "Ga-68": ("35337001", "C-131A3"),
    "Br-76": ("79523006", "C-113A2"),
    "Rb-82": ("79197006", "C-159A2"),
    "Sr-89": ("7770004", "C-158A6"),
    "Y-86": ("10738001", "C-162A3"),
    "Y-90": ("14691008", "C-162A7"),
    "Zr-89": ("63360001", "C-168A4"),
    "Tc-94m": ("424079002", "C-163AA"),
    "Tc-99m": ("72454006", "C-163A8"),
    "In-111": ("56609000", "C-145A4"),
    "I-123": ("21572004", "C-114A4"),
    "I-124": ("40937006", "C-114A5"),
    "I-125": ("68630002", "C-114A6"),
    "I-131": ("1368003", "C-114B1"),
    "Xe-133": ("80751004", "C-172A8"),
    "Sm-153": ("419804008", "C-B1134"),
    "Lu-177": ("447553000", "C-101ED"),
    "Re-186": ("395865006", "C-11906"),
    "Re-188": ("423578007", "C-1018D"),
    "Tl-201": ("60057003", "C-138A9"),
    "Pb-203": ("47588004", "C-132A8"),
    "Ra-223": ("24853006", "C-136A2"),
}
_SYMBOLS = {
    "actinium": "Ac", "astatine": "At", "bismuth": "Bi", "bromine": "Br", "carbon": "C", "cobalt": "Co",
    "copper": "Cu", "erbium": "Er", "fluorine": "F", "gallium": "Ga", "holmium": "Ho", "indium": "In", "iodine": "I",
    "lead": "Pb", "lutetium": "Lu", "lutecium": "Lu", "manganese": "Mn", "nitrogen": "N", "oxygen": "O",
    "phosphorus": "P", "radium": "Ra", "rhenium": "Re", "rubidium": "Rb", "samarium": "Sm", "scandium": "Sc",
    "strontium": "Sr", "technetium": "Tc", "terbium": "Tb", "thallium": "Tl", "thorium": "Th", "xenon": "Xe",
    "yttrium": "Y", "zirconium": "Zr",
}  # fmt: skip


@dataclass(frozen=True)
class Isotope:
    """What an object says was administered; None where it does not say, or what it says cannot be used (`problems`).

    Problems are kept by field, to be raised only where nobody else knows.
    """

    nuclide: str | None
    half_life_s: float | None
    activity_mbq: float | None
    problems: Mapping[str, InputError] = field(default_factory=dict, compare=False)


def isotope(header: Header) -> Isotope:
    """Nuclide, half-life and administered activity of one object."""
    problems: dict[str, InputError] = {}

    def known(name: str, read: Callable[[], T | None]) -> T | None:
        try:
            return read()
        except InputError as problem:
            problems[name] = problem
            return None

    drug = known("nuclide", lambda: radiopharmaceutical(header))
    if drug is None:
        return Isotope(None, None, None, problems)
    return Isotope(
        known("nuclide", lambda: _coded_nuclide(drug)),
        known("half_life_s", lambda: _half_life_s(drug)),
        known("activity_mbq", lambda: _activity_mbq(drug, header.is_nm)),
        problems,
    )


def _half_life_s(drug: Header) -> float | None:
    half_life_s = drug.number("RadionuclideHalfLife")
    if half_life_s is not None and not 1.0 <= half_life_s <= 1e12:
        raise drug.wrong("RadionuclideHalfLife", "the seconds of a nuclide that can be imaged are wanted",
                         f"{_GIVE_NUCLIDE}: its own half-life is taken then")  # fmt: skip
    return half_life_s


def tracer_of(header: Header, nuclide: str) -> str | None:
    """The name of the radiopharmaceutical, Radiopharmaceutical (0018,0031) or its code's meaning; None without one.

    What only repeats the nuclide names no tracer.
    """
    try:
        drug = radiopharmaceutical(header)
    except InputError:
        return None  # several nuclides at once: the user said which
    if drug is None:
        return None
    named = drug.text("Radiopharmaceutical")
    codes = drug.items("RadiopharmaceuticalCodeSequence")
    named = named or (codes[0].text("CodeMeaning") if codes else "")
    try:
        return None if not named or canonical_name(named) == nuclide else named
    except InputError:
        return named


def nuclide_of(stated: Isotope, given: str | None, header: Header) -> str:
    """The nuclide given by the user, else that of the file; `InputError` where neither is known."""
    if given is not None:
        name = canonical_name(given)
        if stated.nuclide not in {None, name}:
            _LOG.warning("%s says %s; %s is taken as given", header.path, stated.nuclide, name)
        return name
    if "nuclide" in stated.problems:
        raise stated.problems["nuclide"]
    if stated.nuclide is None:
        drug = radiopharmaceutical(header)
        codes = drug.items("RadionuclideCodeSequence") if drug else ()
        stands = [f"{code.text('CodeValue')} {code.text('CodeMeaning')!r}" for code in codes]
        what = f"is {stands[0]}, which is not known" if stands else "is missing"
        raise InputError(
            f"RadionuclideCodeSequence (0054,0300) {what}, so the nuclide is unknown",
            where=header.path,
            remedy=_GIVE_NUCLIDE,
        )
    return stated.nuclide


def decay_half_life_s(stated: Isotope, nuclide: str, header: Header, *, given: bool = False) -> float:
    """The half-life the file's decay correction was made with: its own, else that of ICRP-107.

    Warns where the two differ by more than 0.5 %. A half-life in the file that cannot be is an `InputError`, unless
    the user `given` the nuclide.
    """
    reference_s = half_life_h(nuclide) * 3600.0
    if (problem := stated.problems.get("half_life_s")) is not None and not given:
        raise problem
    if stated.half_life_s is None:
        _LOG.warning("%s has no RadionuclideHalfLife (0018,1075); %g s of ICRP-107 is taken", header.path, reference_s)
        return reference_s
    if abs(stated.half_life_s / reference_s - 1.0) > _HALF_LIFE_TOLERANCE:
        _LOG.warning(
            "RadionuclideHalfLife (0018,1075) in %s is %g s, that of %s is %g s; the file's decay correction is undone "
            "with its own",
            header.path,
            stated.half_life_s,
            nuclide,
            reference_s,
        )
    return stated.half_life_s


def parse_nuclide(text: str) -> str | None:
    """The nuclide in words such as '^18^Fluorine', '177 Lutetium', '99mTc', 'Lu-177'; None if there is none."""
    plain = text.replace("^", " ").strip().lower()
    for element, symbol in _SYMBOLS.items():
        plain = re.sub(rf"\b{element}\b|(?<=\d){element}\b|(?<=\dm){element}\b|\b{element}(?=\d)", symbol, plain)
    match = re.fullmatch(r"(\d{1,3} ?m?)[ \[\]-]*([A-Za-z]{1,2})", plain) or re.fullmatch(
        r"([A-Za-z]{1,2})[ \[\]-]*(\d{1,3} ?m?)", plain
    )
    if match is None:
        return None
    try:
        return canonical_name("-".join(group.replace(" ", "") for group in match.groups()))
    except InputError:
        return None


def _coded_nuclide(drug: Header) -> str | None:
    found = set()
    for code in drug.items("RadionuclideCodeSequence"):
        value, scheme = code.text("CodeValue"), code.text("CodingSchemeDesignator")
        for name, (new, old) in _CODES.items():
            if (scheme == "SCT" and value == new) or (scheme in _OLD_SNOMED and value == old):
                found.add(name)
        if meant := parse_nuclide(code.text("CodeMeaning")):
            found.add(meant)
    if len(found) > 1:
        raise InputError(
            f"RadionuclideCodeSequence (0054,0300) says {' and '.join(sorted(found))} at once",
            where=drug.path,
            remedy=_GIVE_NUCLIDE,
        )
    return found.pop() if found else None


def _activity_mbq(drug: Header, is_nm: bool) -> float | None:
    """RadionuclideTotalDose (0018,1074): in Bq in PT objects (PS3.3 C.8.9.2), in MBq in NM objects (C.8.4.10)."""
    value = drug.number("RadionuclideTotalDose")
    if value is None:
        return None
    if value <= 0.0:
        raise drug.wrong("RadionuclideTotalDose", "a positive activity is wanted", _GIVE_ACTIVITY)
    if not is_nm and value < 1e5:
        raise drug.wrong("RadionuclideTotalDose", "in Bq in a PT object, implausibly small", _GIVE_ACTIVITY)
    if is_nm and 1e5 <= value < 1e6:
        raise drug.wrong("RadionuclideTotalDose", "in MBq in an NM object, implausibly large", _GIVE_ACTIVITY)
    if is_nm and value < 1e5:
        return value
    if is_nm:
        _LOG.warning(
            "RadionuclideTotalDose (0018,1074) in %s is %g: taken as Bq, since no one is given %g TBq",
            drug.path, value, value / 1e6,
        )  # fmt: skip
    return value / 1e6
