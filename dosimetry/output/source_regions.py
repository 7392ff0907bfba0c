"""TIAC by source region, for programs that turn it into organ doses with S values: a table to type in or to read.

Names of OLINDA's regions are those of the kinetic data in its case files (ICRP 89 adult models, `Kidneys|0.0`, as in
the templates of PyTheranostics); those of ICRP Publication 133 are what IDAC-Dose 2.1 calculates with
(doi:10.1186/s13550-017-0339-3), as recalled. What is drawn of a hollow organ is taken for its contents. A whole case
file also says which model, with which masses: that is not known here.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dosimetry.results import CurveResult, PatientResults


@dataclass(frozen=True)
class SourceRegion:
    """A source region: words in the names of its structures, and what the programs call it ("" where they do not)."""

    words: str
    olinda: str
    icrp: str


# The first match in this order is taken; words are looked for whole, with any underscores as spaces.
_REGIONS = (
    SourceRegion(r"adrenals?|adrenal glands?", "Adrenals", "Adrenals"),
    SourceRegion(r"brain", "Brain", "Brain"),
    SourceRegion(r"breasts?", "Breasts", "Breast"),
    SourceRegion(r"oesophagus|esophagus", "Esophagus", "Oesophagus"),
    SourceRegion(r"eyes?", "Eyes", ""),
    SourceRegion(r"gall ?bladder", "Gallbladder Contents", "Gallbladder contents"),
    SourceRegion(r"small (bowel|intestine)|duodenum", "Small Intestine", "Small intestine contents"),
    SourceRegion(r"stomach", "Stomach Contents", "Stomach contents"),
    SourceRegion(r"rectum", "Rectum", ""),
    SourceRegion(r"(blood pool|aorta|heart contents)", "Heart Contents", "Blood in heart"),
    SourceRegion(r"(heart( wall)?|myocardium)", "Heart Wall", "Heart wall"),
    SourceRegion(r"kidneys?", "Kidneys", "Kidneys"),
    SourceRegion(r"liver", "Liver", "Liver"),
    SourceRegion(r"lungs?( (upper|middle|lower) lobe)?", "Lungs", "Lungs"),
    SourceRegion(r"ovar(y|ies)", "Ovaries", "Ovaries"),
    SourceRegion(r"pancreas", "Pancreas", "Pancreas"),
    SourceRegion(r"prostate", "Prostate", "Prostate"),
    SourceRegion(r"(parotids?|submandibulars?|sublinguals?|salivary)( glands?)?", "Salivary Glands", "Salivary glands"),
    SourceRegion(r"(red |bone )marrow|marrow", "Red Marrow", "Red (active) marrow"),
    SourceRegion(r"spleen", "Spleen", "Spleen"),
    SourceRegion(r"test(is|es|icles?)", "Testes", "Testes"),
    SourceRegion(r"thymus", "Thymus", "Thymus"),
    SourceRegion(r"thyroid( gland)?", "Thyroid", "Thyroid"),
    SourceRegion(r"(urinary )?bladder", "Urinary Bladder Contents", "Urinary bladder contents"),
    SourceRegion(r"uterus", "Uterus", "Uterus/cervix"),
)
_SIDES = re.compile(r"\b(left|right|l|r|both)\b")
_REMAINDER = SourceRegion("", "Total Body", "Other tissues (remainder)")
_HEAD = """\
# Time-integrated activity coefficients (MBq h per MBq administered) by source region, {nuclide}, {scans} scans.
# To type into OLINDA/EXM (kinetic input) or IDAC-Dose, or to read by a script: columns are separated by |, # begins a
# comment. This is no case file of either: sex, model and organ masses are for the user to choose there.
# The coefficient is the integral of the structures' own curves, +- its standard uncertainty by the curve alone.
# Remainder: whole body less all structures; OLINDA takes it under Total Body. It holds only what every scan sees.
# Structures of a region are added; regions of no program's name (-) and tumours stand last and are in no region.
# OLINDA region | ICRP 133 region | TIAC h | u h | mass g | structures
"""


def tiac_text(results: PatientResults) -> str:
    """The text of tiac.txt."""
    by_region: dict[SourceRegion, list[CurveResult]] = {}
    others: list[CurveResult] = []
    for found in results.structures:
        region = source_region(found.name) if found.role != "tumour" else None
        if region is None:
            others.append(found)
        else:
            by_region.setdefault(region, []).append(found)
    ordered = [(region, by_region[region]) for region in _REGIONS if region in by_region]
    lines = [_line(region, members, results) for region, members in ordered]
    lines.append(_line(_REMAINDER, [results.rest or results.whole_body], results))
    lines += [_line(SourceRegion("", "-", "-"), [found], results) for found in others]
    head = _HEAD.format(nuclide=results.study.nuclide, scans=len(results.frames))
    return head + "".join(f"{line}\n" for line in lines)


def source_region(structure: str) -> SourceRegion | None:
    """The region that a structure's name means, whatever its side; None where none does."""
    words = " ".join(_SIDES.sub(" ", re.sub(r"[_\-.]+", " ", structure.lower())).split())
    return next((region for region in _REGIONS if re.fullmatch(region.words, words)), None)


def _line(region: SourceRegion, members: Sequence[CurveResult], results: PatientResults) -> str:
    administered = results.study.administration.activity_mbq
    tiac = sum(member.curve.tia_mbq_h for member in members) / administered
    u = math.hypot(*(member.curve.u_tia_mbq_h for member in members)) / administered
    mass = sum(member.mass_g for member in members)
    cells: Mapping[str, str] = {
        "olinda": region.olinda or "-",
        "icrp": region.icrp or "-",
        "tiac": _number(tiac),
        "u": _number(u),
        "mass": _number(mass),
        "structures": ", ".join(member.name for member in members),
    }
    return "|".join(cells.values())


def _number(value: float) -> str:
    return f"{value:.5g}" if math.isfinite(value) else ""
