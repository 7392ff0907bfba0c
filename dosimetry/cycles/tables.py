"""The tables of several cycles: what a therapy board reads, as csv and as a page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from dosimetry.cycles.adding import COMMON, Sum
from dosimetry.cycles.limits import Limit
from dosimetry.cycles.values import Cycle
from dosimetry.report.numbers import three, with_error
from dosimetry.report.templates import find_template
from nufitdose.files import write_whole
from nufitdose.io.csv_table import Row, write_csv
from nufitdose.run import RunRecord, versions
from nufitdose.text import significant, text_table

ACCUMULATED, CYCLES, PAGE = "accumulated.csv", "cycles.csv", "accumulated.html"
_SUMS = (
    "dose_mean_gy", "u_dose_mean_gy", "bed_mean_gy", "u_bed_mean_gy", "eqd2_mean_gy", "u_eqd2_mean_gy", "alpha_beta_gy",
)  # fmt: skip
_OF_VOXELS = ("dose_mean_voxels_gy", "dose_d2_voxels_gy", "dose_d98_voxels_gy")
_LIMITS = ("limit_quantity", "limit_gy", "share_percent", "u_share_percent")
_CYCLE = (
    "cycle", "structure", "role", "dose_mean_gy", "u_dose_mean_gy", "bed_mean_gy", "u_bed_mean_gy", "alpha_beta_gy",
)  # fmt: skip


def write_accumulated(
    cycles: Sequence[Cycle],
    sums: Mapping[str, Sum],
    voxels: Mapping[str, Mapping[str, float]],
    limits: Sequence[Limit],
    folder: Path,
) -> None:
    """accumulated.csv, a row a structure and limit, and cycles.csv, a row a structure and cycle."""
    rows: list[Row] = []
    for name, found in sums.items():
        own = voxels.get(name, dict.fromkeys(_OF_VOXELS, float("nan")))
        asked: list[Limit | None] = [limit for limit in limits if limit.applies_to(name, found.role)]
        for limit in asked or [None]:
            rows.append(
                {
                    "structure": name,
                    **asdict(found),
                    "missing": "; ".join(found.missing),
                    **own,
                    **_limit_cells(limit, found),
                }
            )
    columns = ("structure", "role", "cycles", "missing", *_SUMS, *_LIMITS, *_OF_VOXELS)
    write_csv(folder / ACCUMULATED, columns, rows)
    write_csv(folder / CYCLES, _CYCLE, _cycle_rows(cycles))


def write_page(
    cycles: Sequence[Cycle],
    sums: Mapping[str, Sum],
    limits: Sequence[Limit],
    lights: Mapping[str, str],
    record: RunRecord,
    folder: Path,
) -> Path:
    """accumulated.html: a row a structure, its cycles, their sum, and the share of its limits."""
    content = {
        "patient": cycles[0].patient,
        "program": f"nufitdose {versions().get('nufitdose', '')}",
        "cycles": [(cycle, _given(cycle), lights.get(cycle.name, "")) for cycle in cycles],
        "rows": [_line(name, found, cycles, limits) for name, found in sums.items()],
        "common": ", ".join(COMMON),
        "warnings": record.warnings,
    }
    return write_whole(folder / PAGE, find_template("dosimetry.cycles", "accumulated.html.j2").render(content))


def as_text(sums: Mapping[str, Sum]) -> str:
    """The sums in one table for the terminal."""
    columns = ["structure", "role", "cycles", "mean Gy", "±", "BED Gy", "±", "EQD2 Gy", "not in"]
    rows = [
        [
            name,
            found.role,
            str(found.cycles),
            significant(found.dose_mean_gy),
            significant(found.u_dose_mean_gy, 2),
            significant(found.bed_mean_gy),
            significant(found.u_bed_mean_gy, 2),
            significant(found.eqd2_mean_gy),
            ", ".join(found.missing),
        ]
        for name, found in sums.items()
    ]
    return text_table(columns, rows)


def _limit_cells(limit: Limit | None, found: Sum) -> Row:
    if limit is None:
        return {"limit_quantity": "", **dict.fromkeys(_LIMITS[1:], float("nan"))}
    share, u = limit.share_percent(found)
    return dict(zip(_LIMITS, (limit.quantity, limit.limit_gy, share, u), strict=True))


def _cycle_rows(cycles: Sequence[Cycle]) -> list[Row]:
    return [
        {
            "cycle": cycle.name,
            "structure": name,
            "role": dose.role,
            "dose_mean_gy": dose.dose_mean_gy,
            "u_dose_mean_gy": dose.dose_mean_gy * math.sqrt(sum(u**2 for u in dose.relative_u.values())),
            "bed_mean_gy": dose.bed_mean_gy,
            "u_bed_mean_gy": dose.u_bed_mean_gy,
            "alpha_beta_gy": dose.alpha_beta_gy,
        }
        for cycle in cycles
        for name, dose in cycle.doses.items()
    ]


def _given(cycle: Cycle) -> str:
    given = cycle.administration
    when = f", {given.time:%Y-%m-%d}" if given.time else ""
    return f"{cycle.nuclide}, {three(given.activity_mbq / 1e3, 4)} GBq{when}"


def _line(name: str, found: Sum, cycles: Sequence[Cycle], limits: Sequence[Limit]) -> dict[str, object]:
    shares = []
    for limit in (limit for limit in limits if limit.applies_to(name, found.role)):
        share, u = limit.share_percent(found)
        text = f"{with_error(share, u)} % of {three(limit.limit_gy)} Gy {limit.quantity.upper()}"
        shares.append((text, share > 100.0))
    return {
        "name": name,
        "role": found.role,
        "doses": [three(c.doses[name].dose_mean_gy) if name in c.doses else "–" for c in cycles],
        "dose": with_error(found.dose_mean_gy, found.u_dose_mean_gy),
        "bed": with_error(found.bed_mean_gy, found.u_bed_mean_gy),
        "eqd2": with_error(found.eqd2_mean_gy, found.u_eqd2_mean_gy),
        "alpha_beta": three(found.alpha_beta_gy),
        "shares": shares,
        "missing": ", ".join(found.missing),
    }
