"""A comparison as it is read: Markdown tables and box plots."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dosimetry.evaluation.comparison import MEASURES, Comparison, Measure, patient_values
from dosimetry.evaluation.downstream import StructureScore
from dosimetry.evaluation.patient import PairScore

MOTION = (
    "seconds a pair", "peak memory", "TRE organs", "TRE tumours", "TRE bones", "TRE lungs", "field error", "Dice",
    "HD95", "folding", "NDV", "wSSIM",
)  # fmt: skip
DOSE = (
    "TIA error, tumours", "TIA error, organs", "mean dose error, tumours", "mean dose error, organs",
    "D2% error, tumours", "D98% error, tumours", "TAC-fit RMSE, tumours",
)  # fmt: skip
BESIDE_EXACT = (
    "TIA error, tumours, beside exact", "TIA error, organs, beside exact", "mean dose error, tumours, beside exact",
    "D2% error, tumours, beside exact", "D98% error, tumours, beside exact", "D98% error, organs, beside exact",
)  # fmt: skip


_HEAD = 2  # lines of a table without rows
_MEASURE = {measure.name: measure for measure in MEASURES}


def method_table(rows: Sequence[Comparison], measures: Sequence[str]) -> str:
    """Methods down, measures across: mean ± standard deviation over patients; empty where no measure is known."""
    known = [name for name in measures if any(row.measure == name for row in rows)]
    if not known:
        return ""
    units = {row.measure: row.unit for row in rows}
    cells = {(row.method, row.measure): _spread(row) for row in rows}
    heads = ["method", *(f"{name}, {units[name]}" if units[name] else name for name in known)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for method in dict.fromkeys(row.method for row in rows):
        lines.append("| " + " | ".join([f"`{method}`", *(cells.get((method, name), "") for name in known)]) + " |")
    return "\n".join(lines)


def peer_table(rows: Sequence[Comparison], ours: str, peers: Sequence[str]) -> str:
    """Per measure ours beside the best peer: which is better, by how much, and whether that is more than chance."""
    lines = [
        f"| measure | `{ours}` | best peer | | ours / peer | better | p | effect |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for measure in dict.fromkeys(row.measure for row in rows):
        own = next((r for r in rows if r.measure == measure and r.method == ours), None)
        others = [r for r in rows if r.measure == measure and r.method in peers and np.isfinite(r.mean)]
        if own is None or not others or not np.isfinite(own.mean) or all(not np.isfinite(r.p) for r in others):
            continue
        best = (max if _MEASURE[measure].higher else min)(others, key=lambda row: row.mean)
        ratio = f"{own.mean / best.mean:.2f}" if best.mean > 0 and own.mean >= 0 else "-"
        better = {"ours": f"`{ours}`", "other": f"`{best.method}`", "": "equal"}[best.better]
        unit = f", {own.unit}" if own.unit else ""
        lines.append(
            f"| {measure}{unit} | {_number(own.mean)} | {_number(best.mean)} | `{best.method}` | {ratio} | {better} "
            f"| {best.p:.2g} | {best.effect:+.2f} |"
        )
    return "\n".join(lines) if len(lines) > _HEAD else ""


def draw_boxes(
    pairs: Sequence[PairScore], structures: Sequence[StructureScore], measures: Sequence[Measure], path: Path
) -> None:
    """One panel a measure, one box a method, one point a patient; PNG."""
    from matplotlib.figure import Figure

    shown = [(m, patient_values(m, pairs, structures)) for m in measures]
    shown = [(m, values) for m, values in shown if any(np.isfinite(list(by.values())).any() for by in values.values())]
    across = min(3, max(1, len(shown)))
    down = max(1, -(-len(shown) // across))
    figure = Figure(figsize=(3.4 * across, 2.6 * down), layout="constrained")
    for place, (measure, values) in enumerate(shown, start=1):
        axes = figure.add_subplot(down, across, place)
        names = list(values)
        known = [np.array([v for v in by.values() if np.isfinite(v)]) for by in values.values()]
        axes.boxplot(known, orientation="horizontal", showfliers=False, medianprops={"color": "black"})
        for row, some in enumerate(known, start=1):
            axes.plot(some, np.full(some.size, row), "o", markersize=3, alpha=0.6, color="tab:blue")
        axes.set_yticks(range(1, len(names) + 1), names, fontsize=7)
        axes.invert_yaxis()
        axes.set_title(f"{measure.name}{f', {measure.unit}' if measure.unit else ''}", fontsize=8)
        axes.tick_params(axis="x", labelsize=7)
        axes.grid(axis="x", alpha=0.3)
    figure.savefig(path, dpi=130)


def _spread(row: Comparison) -> str:
    sd = f" ± {_number(row.sd)}" if np.isfinite(row.sd) else ""
    return f"{_number(row.mean)}{sd}" if np.isfinite(row.mean) else ""


def _number(value: float) -> str:
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}" if abs(value) >= 0.005 else f"{value:.1g}"
