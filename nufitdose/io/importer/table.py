"""The plan of an import as text that fits a terminal of 80 columns, down to what to type next."""

import re
import shlex
import textwrap
from collections.abc import Sequence
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.importer.administration import ONE_AT_A_TIME
from nufitdose.io.importer.facts import FACTS
from nufitdose.io.importer.options import ImportOptions
from nufitdose.io.importer.plan import ImportPlan

WIDTH = 80
_DESCRIPTION = 18
_INDENT = " " * 5
#: What stands for the value of an option the user is yet to give.
_EXAMPLES = {
    "--administered-at": "YYYY-MM-DDTHH:MM:SS",
    "--administered-mbq": "MBQ",
    "--acquired-at": "YYYY-MM-DDTHH:MM:SS",
    "--hours": "H",
    "--nuclide": "NUCLIDE",
    "--calibration": "BQ_PER_ML_PER_COUNT",
    "--sensitivity": "CPS_PER_MBQ",
    "--decay-correction": "none",
    "--slice-step": "MM",
    "--utc-offset": "+HH:MM",
    "--patient": "NAME",
    "--series": "NUMBER",
    "--accept-uncorrected": "",
    "--accept-implausible": "",
    "--join-beds": "",
}


def describe(plan: ImportPlan) -> list[str]:
    """The table of series with their facts, then the treatment."""
    lines = [_line(plan.columns), "-" * WIDTH]
    for row, texts in zip(plan.series, plan.rows(), strict=True):
        *facts, use = texts
        first, *rest = _wrapped(use, WIDTH - len(_line((*facts, ""))))
        lines.append(_line((*facts, first)))
        for text in [" ".join(rest)] * bool(rest) + row.details():
            lines += textwrap.wrap(text, WIDTH, initial_indent=_INDENT, subsequent_indent=_INDENT + "  ")
    return [*lines, "-" * WIDTH, *_treatment(plan)]


def closing(plan: ImportPlan, folder: Path) -> list[str]:
    """Why it is refused, where it is; the last line is what to type next."""
    command = f"nufitdose import {shlex.quote(str(folder))}"
    given = as_typed(plan.options)
    if plan.refusal is None:
        return [f"next: {command} --out STUDY{given}"]
    lines = textwrap.wrap(f"refused: {plan.refusal}", WIDTH, break_long_words=False, break_on_hyphens=False)
    if plan.refusal.remedy == ONE_AT_A_TIME:  # that two are one is for a person to say, not to be copied from here
        return [*lines, f"next: nufitdose import FOLDER_OF_ONE_PATIENT --dry-run{given}"]
    return [*lines, f"next: {command} --dry-run{given}{_suggested(plan.refusal)}"]


def as_typed(options: ImportOptions) -> str:
    """The options that were given, as they are typed."""
    plain = {
        "--nuclide": options.nuclide,
        "--administered-mbq": options.administered_mbq,
        "--administered-at": options.given_at.isoformat() if options.given_at else None,
        "--calibration": options.calibration_bq_per_ml_per_count,
        "--sensitivity": options.sensitivity_cps_per_mbq,
        "--patient": options.patient,
        "--reference": options.reference,
    }
    shared = {
        "--acquired-at": "acquired_at", "--hours": "hours", "--utc-offset": "utc_offset",
        "--decay-correction": "decay_correction", "--slice-step": "slice_step_mm",
    }  # fmt: skip
    for option, name in shared.items():
        value = getattr(options, name)
        plain[option] = None if value is None else FACTS[name].show(value)
    words = [f"{option} {_quoted(value)}" for option, value in plain.items() if value is not None]
    words += [f"--series {name}" for name in options.series]
    words += ["--accept-uncorrected"] * bool(options.accept_uncorrected)
    words += ["--accept-implausible"] * bool(options.accept_implausible)
    words += ["--join-beds"] * options.join_beds
    for name, facts in options.for_series.items():
        words += [f"--for {name} {fact}={_quoted(FACTS[fact].show(value))}" for fact, value in facts.items()]
    return "".join(f" {word}" for word in words)


def _suggested(refusal: InputError) -> str:
    remedy = refusal.remedy or ""
    named = re.search(r"--for (\S+) (\w+)=", remedy)
    option = next((o for o in re.findall(r"--[a-z][a-z-]+", remedy) if o in _EXAMPLES), None)
    if option is None:
        return f" --for {named[1]} {named[2]}=..." if named else ""
    if option == "--series":
        return (
            "".join(f" --series {n}" for n in re.findall(r"--series:? ([0-9.]*[0-9])", remedy)[:9])
            or " --series NUMBER"
        )
    return f" {option} {_EXAMPLES[option]}".rstrip()


def _quoted(value: object) -> str:
    return shlex.quote(f"{value:g}" if isinstance(value, float) else str(value))


def _treatment(plan: ImportPlan) -> list[str]:
    record = plan.record()
    sources = record["sources"]
    if not sources:
        return []
    when = record["administered_at"] or "time"
    return [
        f"nuclide: {record['nuclide']} ({sources['nuclide']})",
        f"administered: {record['administered_mbq']:g} MBq ({sources['administered_mbq']}), {when} "
        f"({sources['administered_at']})",
    ]


def _line(texts: Sequence[str]) -> str:
    number, kind, description, files, hours, total, use = texts
    short = description if len(description) <= _DESCRIPTION else description[: _DESCRIPTION - 1] + "…"
    return f"{number:<4} {kind:<8} {short:<{_DESCRIPTION}} {files:>5} {hours:>8} {total:>9}  {use}".rstrip()[:WIDTH] + (
        "" if use else "  "
    )


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(width, 12)) or [""]
