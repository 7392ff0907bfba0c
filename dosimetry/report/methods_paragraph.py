"""What was done, in words to paste, and what the numbers do not contain."""

from dataclasses import dataclass

import numpy as np

from dosimetry.curves.methods import METHODS
from dosimetry.dose import find_dose_engine
from dosimetry.findings import Findings
from dosimetry.report.curve_words import curve_sentences, join_words
from dosimetry.report.numbers import percent, three
from dosimetry.report.recovery_words import recovery_sentences
from nufitdose.nuclides import (
    Emissions,
    canonical_name,
    chain_emissions,
    half_life_h,
    long_lived_progeny,
    progeny_decays,
)
from nufitdose.registration.engines.registry import find_engine


@dataclass(frozen=True)
class Reference:
    """One entry of the list of references."""

    text: str
    doi: str = ""


REFERENCES = (
    Reference(
        "Eckerman K, Endo A. ICRP Publication 107: Nuclear decay data for dosimetric calculations. "
        "Ann ICRP 2008;38(3).",
        "10.1016/j.icrp.2008.10.004",
    ),
    Reference(
        "Bolch WE, Eckerman KF, Sgouros G, Thomas SR. MIRD pamphlet No. 21: A generalized schema for "
        "radiopharmaceutical dosimetry. J Nucl Med 2009;50:477–484.",
        "10.2967/jnumed.108.056036",
    ),
    Reference(
        "Schneider W, Bortfeld T, Schlegel W. Correlation between CT numbers and tissue parameters. "
        "Phys Med Biol 2000;45:459–478.",
        "10.1088/0031-9155/45/2/314",
    ),
    Reference("ICRU Report 83: Prescribing, recording, and reporting photon-beam IMRT. J ICRU 2010;10(1)."),
    Reference("ICRU Report 91: Prescribing, recording, and reporting of stereotactic treatments. J ICRU 2014;14(2)."),
    Reference(
        "Lassmann M, Chiesa C, Flux G, Bardiès M. EANM guidance: good practice of clinical dosimetry reporting. "
        "Eur J Nucl Med Mol Imaging 2011;38:192–200.",
        "10.1007/s00259-010-1549-3",
    ),
)

_AKAIKE = Reference(
    "Burnham KP, Anderson DR. Model selection and multimodel inference. 2nd ed. New York: Springer; 2002."
)

_RECOVERY = {
    "none": (),
    "volume": (
        Reference(
            "Gear JI, Cox MG, Gustafsson J, et al. EANM practical guidance on uncertainty analysis for molecular "
            "radiotherapy absorbed dose calculations. Eur J Nucl Med Mol Imaging 2018;45:2456–2474.",
            "10.1007/s00259-018-4136-7",
        ),
    ),
    "gtm": (
        Reference(
            "Rousset OG, Ma Y, Evans AC. Correction for partial volume effects in PET: principle and validation. "
            "J Nucl Med 1998;39:904–911."
        ),
        Reference(
            "Thomas BA, Erlandsson K, Modat M, et al. The importance of appropriate partial volume correction for PET "
            "quantification in Alzheimer's disease. Eur J Nucl Med Mol Imaging 2011;38:1104–1119."
        ),
    ),
}


def references(results: Findings) -> list[Reference]:
    """What the methods of this run rest on."""
    used = {results.settings.kinetics.method(name) for name in results.curves}
    cited = [method.reference for name, method in METHODS.items() if name in used and method.reference]
    rests = [*REFERENCES, *(_RECOVERY[results.recovery.method])]
    found = [*rests, *(Reference(text, doi) for text, doi in cited)]
    compared = any(np.isfinite(curve.akaike_weight) for curve in results.curves.values())
    return [*found, _AKAIKE] if compared else found


def methods_paragraph(results: Findings, program: str) -> str:
    """The methods of this run as one paragraph."""
    return " ".join(
        [
            *_imaging(results, program),
            *recovery_sentences(results),
            *curve_sentences(results),
            *_dose(results),
            *_numbers(results),
        ]
    )


def photon_percent(energy: Emissions) -> float:
    """Share of the emitted energy that photons carry away from local deposition."""
    emitted = energy.local_mev + energy.photon_mev
    return 100.0 * energy.photon_mev / emitted if emitted > 0 else 0.0


def _energies(energy: Emissions) -> dict[str, str]:
    """What the words of a dose engine may name."""
    return {
        "local_mev": three(energy.local_mev),
        "photon_mev": three(energy.photon_mev),
        "photon_percent": percent(photon_percent(energy)),
    }


def left_out(results: Findings) -> list[str]:
    """What the doses do not contain, one sentence each."""
    nuclide, settings = results.study.nuclide, results.settings.dose
    energy = chain_emissions(nuclide)
    said = [sentence.format(**_energies(energy)) for sentence in find_dose_engine(settings.engine).left_out]
    left = results.left_the_field
    if left is not None:
        said.append(f"{percent(100.0 * left)} of the emitted energy leaves the field of view or lands in air.")
    statistical = results.statistical_percent
    if statistical is not None:
        said.append(
            f"The statistical standard error of the mean over 20 mL is {percent(statistical)} or less where the dose "
            "is at least 1 % of the greatest (95 % of such blocks)."
        )
    included, outliving = progeny_decays(nuclide), long_lived_progeny(nuclide)
    if included:
        named = ", ".join(f"{name} ({three(share)} per decay)" for name, share in included.items())
        said.append(f"Progeny are included at the place of the parent: {named}.")
    if outliving:
        said.append(f"Progeny that outlive {nuclide} are left out: {', '.join(outliving)}.")
    if not results.study.has_ct:
        said.append(
            f"There is no CT: every voxel has a density of {three(settings.density_without_ct_g_ml)} g/mL; lung is "
            "then given too little dose and bone too much."
        )
    else:
        floor = three(settings.density_floor_g_ml)
        said.append(f"Densities below {floor} g/mL are held there; air outside the body has no dose.")
    if results.recovery.method == "none":
        said.append("No correction for the partial-volume effect, no recovery coefficients.")
    said.append(
        "The ± values hold curve, counting, registration, calibration, recovery, outlines and the dose per decay, as "
        "far as each is measured, described or assumed."
    )
    if all(s.biological is None for s in results.with_histograms):
        said.append("Absorbed dose only: no relative biological effectiveness, no dose-rate effects.")
    return said


def _imaging(results: Findings, program: str) -> list[str]:
    study, count = results.study, len(results.frames)
    times = join_words([three(float(t)) for t in results.times_h])
    images, were = ("image", "was") if count == 1 else ("images", "were")
    said = [
        f"Absorbed doses were calculated with {program}.",
        f"{_count(count)} activity {images} (Bq/mL at acquisition) taken {times} h after "
        f"administration of {three(study.administration.activity_mbq)} MBq {canonical_name(study.nuclide)} "
        f"(half-life {three(half_life_h(study.nuclide), 4)} h, ICRP Publication 107) {were} used.",
    ]
    registrations = [frame.registration for frame in results.frames if frame.registration is not None]
    if registrations and results.settings.registration.engine != "none":
        bases = sorted({registration.basis for registration in registrations})
        how, compared = (
            find_engine(registrations[0].engine).says,
            join_words([f"{basis} to {basis}" for basis in bases]),
        )
        said.append(
            f"They were brought onto the scan {study.reference_id} by {how.format(bases=compared)}; "
            "activity was transported as concentration."
        )
    elif count > 1:
        said.append("They were not registered.")
    return said


def _dose(results: Findings) -> list[str]:
    energies = _energies(chain_emissions(results.study.nuclide))
    method = find_dose_engine(results.settings.dose.engine).method.format(**energies)
    if not results.study.has_ct:
        density = f"a density of {three(results.settings.dose.density_without_ct_g_ml)} g/mL throughout"
    else:
        density = "mass density from CT (Schneider 2000)"
    if results.settings.dose.order == "dose_rate_first":
        return [
            f"The activity of every scan was converted to the dose rate at each scan by {method} with {density}. "
            "In each voxel the courses over time of what charged particles and of what photons leave, known from the "
            "activities, were fitted to the dose rates and integrated."
        ]
    return [f"The time-integrated activity was converted to dose by {method} with {density}."]


def _numbers(results: Findings) -> list[str]:
    if not results.structures:
        return []
    said = ["Mean doses are mass-weighted; D2%, D50% and D98% follow ICRU Report 83."]
    if any(np.isfinite(s.dose["dose_d35mm3_gy"]) for s in results.structures):
        said.append("For structures under 2 mL the dose to 35 mm³ is given in addition (ICRU Report 91).")
    if any(s.biological is not None for s in results.with_histograms):
        said.append(
            "Biologically effective dose follows the linear-quadratic model with exponential repair, closed for the "
            "exponentials of each structure's curve."
        )
    return said


def _count(number: int) -> str:
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six")
    return words[number] if number < len(words) else str(number)
