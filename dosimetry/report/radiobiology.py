"""Biologically effective dose on the page: its table, and with what it was made."""

import numpy as np

from dosimetry.biological import alpha_share, has_rates
from dosimetry.findings import Findings
from dosimetry.metrics.biological import common_value
from dosimetry.metrics.tissues import find_response
from dosimetry.report.curve_words import join_words
from dosimetry.report.numbers import gray, percent, three
from dosimetry.report.palette import Looks
from dosimetry.report.tables import Row, Table


def radiobiology_table(results: Findings, looks: Looks) -> Table | None:
    """BED and EQD2 beside the mean dose, and the parameters; None where no structure has them."""
    known = [(s, s.biological) for s in results.with_doses if s.biological is not None]
    if not known:
        return None
    weighted = any(np.isfinite(found.dose_rbe_mean_gy) for _, found in known)
    uniform = any(np.isfinite(found.eubed_gy) for _, found in known)
    heads = [
        "structure", "α/β Gy", "T_rep h", "G", "mean Gy", *(["RBE-weighted mean Gy"] if weighted else []),
        "BED mean Gy", "EQD2 mean Gy", *(["EUBED Gy"] if uniform else []),
    ]  # fmt: skip
    rows = []
    for s, found in known:
        tissues = [effect.response for effect in found.effects]
        cells = [
            three(common_value([tissue.alpha_beta_gy for tissue in tissues])),
            three(common_value([tissue.t_rep_h for tissue in tissues])),
            three(common_value([effect.protraction for effect in found.effects])),
        ]
        cells.append(gray(s.dose["dose_mean_gy"], s.u_dose_mean_gy))
        if weighted:
            cells.append(gray(found.dose_rbe_mean_gy, found.u_dose_rbe_mean_gy))
        cells.append(gray(found.bed_mean_gy, found.u_bed_mean_gy))
        cells.append(gray(found.eqd2_mean_gy, found.u_eqd2_mean_gy))
        if uniform:
            cells.append(gray(found.eubed_gy, found.u_eubed_gy))
        rows.append(Row(s.name, cells, looks.get(s.name)))
    return Table(heads, rows)


def radiobiology_notes(results: Findings) -> list[str]:
    """Where the parameters are from, what is weighted, and which structures have no BED for what reason."""
    said = []
    whose: dict[str, list[str]] = {}
    for s in results.with_histograms:
        for response in {effect.response: None for effect in s.biological.effects} if s.biological else ():
            whose.setdefault(response.source, []).append(s.name)
    said += [f"α/β and T_rep of {join_words(names)}: {source}." for source, names in whose.items()]
    share, settings = alpha_share(results.study.nuclide), results.settings.metrics.radiobiology
    if share > 0 and settings.rbe_alpha is None:
        said.append("The nuclide emits alpha particles and no RBE was given: doses are physical, there is no BED.")
    elif share > 0:
        said.append(
            f"Alpha particles and recoils, {percent(100.0 * share)} of the energy that stays in place, count "
            f"{three(settings.rbe_alpha or 1.0)} fold in the weighted dose and in the linear term of BED; all other "
            "doses are physical."
        )
    unknown = [s.name for s in results.structures if find_response(s.name, s.role, settings.tissues) is None]
    shapeless = [s.name for s in results.structures if s.name not in unknown and not has_rates(s.curve)]
    if unknown:
        said.append(
            f"No BED of {join_words(unknown)}: α/β or T_rep is not known; give them in metrics.radiobiology.tissues."
        )
    if shapeless:
        said.append(f"No BED of {join_words(shapeless)}: the curve is no sum of exponentials.")
    if results.burden is not None and results.burden.biological is not None:
        said.append(f"{results.burden.name}: means over the tumours, weighted by mass.")
    return said + _derived_notes(results)


def _derived_notes(results: Findings) -> list[str]:
    """How derived structures get their BED, and why some have none; the missing RBE is said of all."""
    known = [found for found in results.derived if found.biological is not None]
    without = [found.name for found in results.derived if found.biological is None]
    said = []
    if known:
        said.append(
            f"BED of {join_words([found.name for found in known])}: each voxel by the tissue and the curve of the "
            "structure that holds most of it; – stands where these are several. The ± is as if all voxels erred alike, "
            "an upper bound."
        )
    if without and (alpha_share(results.study.nuclide) == 0 or results.settings.metrics.radiobiology.rbe_alpha):
        said.append(
            f"No BED of {join_words(without)}: α/β, T_rep or the rates of the curve are not known for more than 1 % of "
            "the mass; the tissue can be given in metrics.radiobiology.tissues, by the derived structure's own name."
        )
    return said
