"""What each tracer does in each tissue: uptake, clearance, and the spread between patients.

Amounts are percent of the administered activity per mL of tissue (extrapolated to the time of
administration, decay taken out) and biological half-lives in h. They are chosen here so that reference
adults get organ doses and effective half-lives of the order of published ones:

- Lu-177-DOTATATE: T_eff of kidneys 51 h, liver and spleen 67 h, tumours 77 h (Hänscheid et al. 2018,
  doi:10.2967/jnumed.117.193706); kidneys 0.3-0.9 Gy/GBq (Staanum et al. 2021, doi:10.1186/s40658-021-00422-2, and
  doi:10.1186/s13550-018-0459-4)
- Lu-177-PSMA-617: kidneys 0.4-0.8 Gy/GBq, parotid glands 0.6-1.9 Gy/GBq (Violet et al. 2019,
  doi:10.2967/jnumed.118.219352; PMC5472088); half-lives not from the literature
- I-131 NaI after thyroidectomy: remnant T_eff 68 h after rhTSH, 48 h after withdrawal, spread as large
  (Hänscheid et al. 2006, PMID 16595499); values per mL and the rest of the body not from the literature
- Y-90 microspheres: trapped where they arrive, physical decay alone; tumour to liver about 5 (chosen here)
- F-18-FDG and Ga-68-PSMA-11: standardised uptake values, given for 70 kg (chosen here)

Other tissues, and all spreads, are not from the literature.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Uptake:
    """Percent of the administered activity per mL and biological half-life (h) of each clearance phase.

    `uptake_h` is the half-time of filling: `c(t) = Σ_j a_j (2^(-t/T_j) - 2^(-t/T_up))`, decay taken out.
    """

    phases: tuple[tuple[float, float], ...]
    uptake_h: float = 0.25


@dataclass(frozen=True)
class Tracer:
    """A radiopharmaceutical: nuclide, scanner, administered activity, kinetics by tissue, where its tumours grow."""

    name: str
    nuclide: str
    modality: str
    administered_mbq: float
    tissues: dict[str, Uptake]
    tumour: Uptake
    necrosis_share: float
    sites: tuple[str, ...]
    centre_z_mm: float  # middle of the field of view in the reference body
    times_h: tuple[float, ...] = (4.0, 24.0, 72.0, 168.0)


NEVER_H = 1e9  # biological half-life of what does not leave


def _suv(value: float, uptake_h: float = 0.2, half_life_h: float = NEVER_H) -> Uptake:
    return Uptake(((value * 100.0 / 70_000.0, half_life_h),), uptake_h)


def _fast_slow(fast: float, fast_h: float, slow: float, slow_h: float, uptake_h: float = 0.05) -> Uptake:
    return Uptake(((fast, fast_h), (slow, slow_h)), uptake_h)


_NOTHING = Uptake(((0.0, 1.0),))

_DOTATATE = {
    "kidney_cortex": Uptake(((0.0130, 75.0),), 0.5),
    "kidney_medulla": Uptake(((0.0085, 72.0),), 0.5),
    "spleen": Uptake(((0.0105, 110.0),), 0.5),
    "liver": Uptake(((0.0019, 115.0),), 1.0),
    "adrenal": Uptake(((0.0060, 90.0),), 0.5),
    "pancreas": Uptake(((0.0012, 70.0),), 0.5),
    "gut_wall": Uptake(((0.0010, 60.0),), 0.5),
    "gut_content": Uptake(((0.0005, 45.0),), 8.0),
    "prostate": Uptake(((0.0004, 60.0),), 0.5),
    "thyroid": Uptake(((0.0016, 70.0),), 0.5),
    "salivary_gland": Uptake(((0.0014, 60.0),), 0.5),
    "blood": _fast_slow(0.0042, 1.5, 0.00010, 45.0),
    "myocardium": _fast_slow(0.0020, 1.8, 0.00010, 60.0),
    "lung": _fast_slow(0.0010, 1.8, 0.00005, 60.0),
    "spongiosa": _fast_slow(0.0010, 2.0, 0.00025, 80.0),
    "cortical_bone": _fast_slow(0.0003, 2.5, 0.00003, 80.0),
    "fat": _fast_slow(0.0003, 3.0, 0.00003, 80.0),
    "brain": _fast_slow(0.0001, 2.0, 0.00001, 60.0),
    "urine": _fast_slow(0.0250, 4.0, 0.00060, 70.0, 0.6),
    "bile": Uptake(((0.0010, 40.0),), 3.0),
    "soft": _fast_slow(0.0008, 2.5, 0.00007, 80.0),
}
_PSMA = _DOTATATE | {
    "kidney_cortex": Uptake(((0.0170, 46.0),), 0.5),
    "kidney_medulla": Uptake(((0.0110, 42.0),), 0.5),
    "spleen": Uptake(((0.0026, 60.0),), 0.5),
    "liver": Uptake(((0.0022, 50.0),), 0.7),
    "salivary_gland": Uptake(((0.0260, 34.0),), 0.8),
    "gut_wall": Uptake(((0.0028, 40.0),), 0.5),
    "adrenal": Uptake(((0.0008, 50.0),), 0.5),
    "spongiosa": _fast_slow(0.0010, 2.0, 0.00010, 60.0),
}
_IODIDE = {
    "thyroid": Uptake(((0.60, 110.0),), 7.0),
    "salivary_gland": Uptake(((0.0110, 14.0),), 0.8),
    "gut_content": Uptake(((0.0045, 16.0),), 2.0),
    "gut_wall": Uptake(((0.0030, 13.0),), 0.8),
    "liver": _fast_slow(0.0012, 11.0, 0.00035, 90.0, 0.5),
    "blood": _fast_slow(0.0028, 9.0, 0.00006, 90.0, 0.3),
    "urine": Uptake(((0.0200, 10.0),), 1.0),
    "fat": Uptake(((0.0004, 12.0),), 0.3),
    "lung": Uptake(((0.0006, 10.0),), 0.3),
    "brain": Uptake(((0.0002, 12.0),), 0.3),
    "cortical_bone": Uptake(((0.0003, 12.0),), 0.3),
    "soft": Uptake(((0.0012, 12.0),), 0.3),
}
_MICROSPHERES = {
    "liver": Uptake(((0.022, NEVER_H),), 1e-3),
    "lung": Uptake(((0.0012, NEVER_H),), 1e-3),
    "soft": _NOTHING,
}
_FDG = {
    "liver": _suv(2.2),
    "spleen": _suv(1.9),
    "kidney_cortex": _suv(3.0),
    "kidney_medulla": _suv(4.0),
    "brain": _suv(9.0, 0.4),
    "myocardium": _suv(3.5, 0.4),
    "blood": _suv(1.8, 0.02, 4.0),
    "gut_wall": _suv(2.0),
    "gut_content": _suv(0.7),
    "spongiosa": _suv(1.5),
    "cortical_bone": _suv(0.4),
    "lung": _suv(0.5),
    "fat": _suv(0.3),
    "mesentery": _suv(0.4),
    "urine": _suv(20.0, 0.8),
    "salivary_gland": _suv(1.9),
    "thyroid": _suv(1.6),
    "soft": _suv(0.8),
}
_PSMA_PET = _FDG | {
    "liver": _suv(5.5),
    "spleen": _suv(8.0),
    "kidney_cortex": _suv(50.0, 0.4),
    "kidney_medulla": _suv(30.0, 0.4),
    "salivary_gland": _suv(16.0, 0.4),
    "gut_wall": _suv(6.0),
    "brain": _suv(0.1),
    "myocardium": _suv(1.4),
    "spongiosa": _suv(0.8),
    "urine": _suv(30.0, 0.8),
}

TRACERS = {
    tracer.name: tracer
    for tracer in (
        Tracer("Lu-177-DOTATATE", "Lu-177", "spect", 7400.0, _DOTATATE, Uptake(((0.045, 140.0),), 3.0), 0.10,
               ("liver", "liver", "node", "bone", "liver", "pancreas"), 25.0),
        Tracer("Lu-177-PSMA", "Lu-177", "spect", 7400.0, _PSMA, Uptake(((0.040, 80.0),), 3.0), 0.10,
               ("bone", "node", "bone", "node", "bone", "liver"), -60.0),
        Tracer("I-131-NaI", "I-131", "spect", 5500.0, _IODIDE, Uptake(((0.12, 95.0),), 8.0), 0.05,
               ("thyroid_bed", "node", "lung", "bone", "lung"), 235.0),
        Tracer("Y-90-microspheres", "Y-90", "pet", 2000.0, _MICROSPHERES, Uptake(((0.11, NEVER_H),), 1e-3), 0.05,
               ("liver", "liver", "liver"), 45.0, (2.0, 24.0, 48.0)),
        Tracer("F-18-FDG", "F-18", "pet", 350.0, _FDG, _suv(9.0, 0.5), 0.08,
               ("lung", "node", "liver", "bone"), 110.0, (1.0, 1.75, 2.5)),
        Tracer("Ga-68-PSMA", "Ga-68", "pet", 150.0, _PSMA_PET, _suv(18.0, 0.5), 0.08, ("bone", "node", "bone", "node"),
               -60.0, (0.75, 1.5, 2.5)),
    )
}  # fmt: skip
#: The tracer meant when only a nuclide is named.
DEFAULT_TRACER = {
    "Lu-177": "Lu-177-DOTATATE",
    "I-131": "I-131-NaI",
    "Y-90": "Y-90-microspheres",
    "F-18": "F-18-FDG",
    "Ga-68": "Ga-68-PSMA",
}
