"""What run.json says of the tissues that BED was made with."""

from typing import Any

from dosimetry.results import PatientResults


def tissues_record(results: PatientResults) -> dict[str, Any]:
    """The note `tissues`: α/β, repair and their source by structure."""
    known = {found.name: found.biological.effect.response for found in results.structures if found.biological}
    tissues = {
        name: {
            "alpha_beta_gy": response.alpha_beta_gy,
            "t_rep_h": response.t_rep_h,
            "source": response.source,
        }
        for name, response in known.items()
    }
    return {"tissues": tissues} if tissues else {}
