"""How tissues answer to dose: α/β, repair half-life and α, from a published table or as the settings say.

Each entry of `PUBLISHED` names where its numbers were read. Those of kidney and liver are what public programs for
radionuclide therapy compute with; the articles behind them could not be opened, and `source` says so. A structure that
has no entry gets no BED until `metrics.radiobiology.tissues` names it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from dosimetry.config import TissueSettings

TUMOUR = "tumour"  # the entry of every structure whose role that is
SETTINGS = "settings"  # the source of what the user gave


@dataclass(frozen=True)
class TissueResponse:
    """Linear-quadratic parameters of a structure: α/β, Gy; repair half-life, h; α, 1/Gy, None where not known."""

    alpha_beta_gy: float
    t_rep_h: float
    alpha_per_gy: float | None
    source: str


_LIBRARY = "Voyant 2014, doi:10.1016/j.rpor.2013.08.004, in its authors' library (doi:10.5281/zenodo.21948624)"


def _of_library(alpha_beta_gy: float, t_rep_h: float, effect: str) -> TissueResponse:
    return TissueResponse(alpha_beta_gy, t_rep_h, None, f"{_LIBRARY}: {effect}")


# No α: published ones of tumours differ tenfold, and EUBED hangs on it.
PUBLISHED: Mapping[str, TissueResponse] = {
    "kidney": TissueResponse(
        2.6,
        2.8,
        None,
        "the table of PyTheranostics (github.com/qurit/PyTheranostics, commit 0bcda20), which names Bodei 2008, "
        "doi:10.1007/s00259-008-0778-1 (not read), for its BED",
    ),
    "liver": TissueResponse(
        2.5,
        2.5,
        None,
        "3Dosim, for Y-90 microspheres (github.com/sebastiang2010/3Dosim, commit a581e9e); 2.75 Gy and 2.5 h in "
        "MIRDCalculation (github.com/MGHPhysicsResearch/MIRDCalculation); no article was read",
    ),
    "lung": _of_library(3.1, 0.8, "pneumonitis"),
    "parotid": _of_library(3.0, 3.0, "xerostomia"),
    "stomach": _of_library(10.0, 5.0, "ulceration, perforation"),
    "small_bowel": _of_library(8.3, 5.0, "perforation"),
    "spinal_cord": _of_library(2.0, 5.0, "myelitis"),
    TUMOUR: _of_library(10.0, 1.5, "standard tumour; tumours differ widely (van Leeuwen 2018)"),
}


def find_response(structure: str, role: str, given: Mapping[str, TissueSettings]) -> TissueResponse | None:
    """The parameters of a structure; None where α/β or T_rep is not known.

    What the settings say of the structure by its name comes first, then what they say of its entry in the table (the
    part of its name, such as "kidney" of "kidney_left"; "tumour" by its role), then the table.
    """
    entry = entry_of(structure, role)
    published = PUBLISHED.get(entry) if entry else None
    mine = [given[name] for name in (structure, entry) if name is not None and name in given]

    def first(key: str) -> float | None:
        values = (getattr(some, key) for some in (*mine, *([published] if published else [])))
        return next((value for value in values if value is not None), None)

    alpha_beta_gy, t_rep_h = first("alpha_beta_gy"), first("t_rep_h")
    if alpha_beta_gy is None or t_rep_h is None:
        return None
    sources = [*([SETTINGS] if mine else []), *([published.source] if published and not _all_given(mine) else [])]
    return TissueResponse(alpha_beta_gy, t_rep_h, first("alpha_per_gy"), "; else ".join(sources))


def entry_of(structure: str, role: str) -> str | None:
    """The name of its entry in the table; None where it has none."""
    if role == TUMOUR:
        return TUMOUR
    return next((name for name in PUBLISHED if name != TUMOUR and name in structure.lower()), None)


def _all_given(settings: list[TissueSettings]) -> bool:
    return all(any(getattr(some, key) is not None for some in settings) for key in ("alpha_beta_gy", "t_rep_h"))
