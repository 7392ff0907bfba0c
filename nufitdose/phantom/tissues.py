"""The tissues a digital patient is made of: what the CT shows of each.

CT numbers are chosen here for 120 kVp without contrast agent, of the order of those that Schneider et al. (1996,
doi:10.1088/0031-9155/41/1/009) calculate from tissue compositions; so is `enhanced_hu`, the portal-venous phase.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tissue:
    """CT number, its value with contrast agent, and the standard deviation of its fine texture, HU."""

    hu: float
    enhanced_hu: float
    texture_hu: float


TISSUES = {
    "air": Tissue(-1000.0, -1000.0, 0.0),
    "skin": Tissue(10.0, 20.0, 5.0),
    "fat": Tissue(-102.0, -100.0, 7.0),
    "mesentery": Tissue(-85.0, -78.0, 18.0),
    "muscle": Tissue(55.0, 65.0, 12.0),
    "soft": Tissue(40.0, 55.0, 8.0),
    "cortical_bone": Tissue(850.0, 850.0, 90.0),
    "spongiosa": Tissue(190.0, 200.0, 35.0),
    "cartilage": Tissue(95.0, 95.0, 15.0),
    "disc": Tissue(80.0, 85.0, 8.0),
    "spinal_cord": Tissue(28.0, 30.0, 4.0),
    "lung": Tissue(-790.0, -780.0, 35.0),
    "myocardium": Tissue(45.0, 110.0, 5.0),
    "blood": Tissue(42.0, 150.0, 3.0),
    "liver": Tissue(58.0, 110.0, 5.0),
    "spleen": Tissue(50.0, 120.0, 4.0),
    "kidney_cortex": Tissue(34.0, 170.0, 4.0),
    "kidney_medulla": Tissue(30.0, 140.0, 5.0),
    "pancreas": Tissue(38.0, 90.0, 12.0),
    "adrenal": Tissue(25.0, 70.0, 4.0),
    "bile": Tissue(8.0, 8.0, 2.0),
    "gut_wall": Tissue(42.0, 85.0, 5.0),
    "gut_content": Tissue(22.0, 30.0, 20.0),
    "gas": Tissue(-960.0, -960.0, 5.0),
    "urine": Tissue(6.0, 10.0, 2.0),
    "prostate": Tissue(40.0, 60.0, 5.0),
    "uterus": Tissue(48.0, 100.0, 5.0),
    "thyroid": Tissue(105.0, 160.0, 8.0),
    "salivary_gland": Tissue(28.0, 60.0, 12.0),
    "breast": Tissue(-20.0, -10.0, 35.0),
    "brain": Tissue(36.0, 40.0, 3.0),
    "tumour": Tissue(48.0, 80.0, 9.0),
    "hypodense_tumour": Tissue(40.0, 75.0, 9.0),
    "lytic_tumour": Tissue(60.0, 80.0, 20.0),
    "sclerotic_tumour": Tissue(520.0, 520.0, 110.0),
    "necrosis": Tissue(18.0, 22.0, 5.0),
    "metal": Tissue(3000.0, 3000.0, 0.0),
}


@dataclass(frozen=True)
class Compartment:
    """A part of the body with one tissue and one tracer behaviour.

    `name` is unique; `structure` is the organ it belongs to (cortex and medulla are one kidney), empty for
    tissue that no one outlines.
    """

    name: str
    structure: str
    tissue: str


class Palette:
    """Compartments in order of first use; compartment 0 is the air around the patient."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._compartments: list[Compartment] = []
        self.compartment("air", "air", "")

    def compartment(self, name: str, tissue: str | None = None, structure: str | None = None) -> int:
        """The number of a compartment, made on first use; tissue and structure default to the name."""
        if name not in self._numbers:
            tissue = name if tissue is None else tissue
            assert tissue in TISSUES, tissue
            self._numbers[name] = len(self._compartments)
            self._compartments.append(Compartment(name, name if structure is None else structure, tissue))
        return self._numbers[name]

    @property
    def compartments(self) -> tuple[Compartment, ...]:
        """All compartments by number."""
        return tuple(self._compartments)
