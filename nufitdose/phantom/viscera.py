"""Organs of chest, abdomen, pelvis and neck."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from nufitdose.phantom.build import Build
from nufitdose.phantom.shapes import Number, Solid, Wobble, around, ellipsoid, rotation, superellipsoid_volume_ml, tube
from nufitdose.phantom.tissues import Palette

_SIDES = ((1.0, "right"), (-1.0, "left"))


def _fit_radii(volume_ml: float, ratios: tuple[Number, Number, Number]) -> np.ndarray:
    """Radii (mm) of an ellipsoid of the given proportions and volume."""
    radii = np.asarray(ratios, dtype=np.float64)
    return radii * float(volume_ml / superellipsoid_volume_ml(radii)) ** (1.0 / 3.0)


def _chain(points: list[np.ndarray], radii_mm: Sequence[Number]) -> list[Solid]:
    return [tube(a, b, ra, rb) for (a, ra), (b, rb) in pairwise(zip(points, radii_mm, strict=True))]


def chest(body: Build, palette: Palette, cavity: int) -> list[Solid]:
    """Lungs, diaphragm domes with the fat below, mediastinum, heart, great vessels, airways.

    What lies at the chest wall ends at it: at the loft `cavity`.
    """
    mesentery, muscle = palette.compartment("mesentery", structure=""), palette.compartment("muscle", structure="")
    at_wall = [
        *lungs(body, palette),
        ellipsoid(body.at(0, -8, 190), body.sizes(27, 36, 84)).paint(
            palette.compartment("mediastinum", "mesentery", "")
        ),
        ellipsoid(body.at(69, 0, -8), body.sizes(68, 93, 114)).paint(muscle, inner=mesentery, thickness_mm=3.0),
        ellipsoid(body.at(-68, 0, -12), body.sizes(66, 91, 104)).paint(muscle, inner=mesentery, thickness_mm=3.0),
        ellipsoid(body.at(0, 12, -18), body.sizes(70, 80, 104)).paint(muscle, inner=mesentery, thickness_mm=3.0),
    ]
    heart = ellipsoid(
        body.at(-24, 18, 136), _fit_radii(1.2 * body.volume_ml["heart"], (50, 46, 66)), rotation(x_deg=-38, y_deg=38)
    )
    at_wall.append(
        heart.paint(
            palette.compartment("myocardium", structure="heart"),
            inner=palette.compartment("heart_blood", "blood", "heart"),
            thickness_mm=9.0,
        )
    )
    return [*(solid.within(cavity) for solid in at_wall), *_vessels(body, palette), *_airways(body, palette)]


def _vessels(body: Build, palette: Palette) -> list[Solid]:
    blood = palette.compartment("blood", structure="")
    aorta = [
        body.at(*p)
        for p in [
            (-4, 8, 168),
            (8, 12, 208),
            (-4, -6, 226),
            (-20, -34, 216),
            (-20, -48, 160),
            (-14, -26, 40),
            (-6, -2, -20),
            (-4, 6, -112),
        ]
    ]
    solids = [s.paint(palette.compartment("aorta", "blood")) for s in _chain(aorta, [14, 14, 13, 12, 12, 10, 9, 8])]
    cava = [body.at(*p) for p in [(20, 4, -112), (20, 2, -20), (24, -8, 60), (22, 4, 110), (24, 8, 190), (20, 12, 246)]]
    solids += [s.paint(blood) for s in _chain(cava, [10, 11, 12, 12, 9, 8])]
    for side in (-1.0, 1.0):
        iliac = [body.at(side * x, y, z) for x, y, z in [(4, 6, -114), (36, -4, -185), (70, 28, -270), (78, 34, -360)]]
        carotid = [body.at(side * x, y, z) for x, y, z in [(14, 8, 226), (22, 4, 300), (28, 4, 385)]]
        jugular = [body.at(side * x, y, z) for x, y, z in [(20, 14, 246), (32, 10, 300), (36, 2, 385)]]
        hilum = [body.at(side * x, y, z) for x, y, z in [(8, -6, 178), (38, -16, 168), (62, -20, 150)]]
        for path, radii in (
            (iliac, [6.0, 5.5, 5, 4.5]),
            (carotid, [4.5, 3.5, 3.0]),
            (jugular, [6.0, 5, 4]),
            (hilum, [12.0, 9.0, 5.0]),
        ):
            solids += [s.paint(blood) for s in _chain(path, list(radii))]
    return solids


def _airways(body: Build, palette: Palette) -> list[Solid]:
    gas, soft = palette.compartment("gas", structure=""), palette.compartment("soft", structure="")
    oesophagus = [body.at(-4, -14, 330), body.at(-8, -28, 230), body.at(-14, -24, 95)]
    solids = [s.paint(soft) for s in _chain(oesophagus, [8, 8, 9])]
    airway = [body.at(0, 6, 400), body.at(0, 14, 320), body.at(0, 0, 262), body.at(0, -14, 212)]
    solids += [s.paint(soft, inner=gas, thickness_mm=2.0) for s in _chain(airway, [11, 11, 10.5, 10])]
    for side in (-1.0, 1.0):
        solids.append(tube(airway[-1], body.at(side * 36, -22, 186), 8, 6).paint(soft, inner=gas, thickness_mm=1.5))
    return solids


def lungs(body: Build, palette: Palette) -> list[Solid]:
    """Each lung as a cone towards the apex and a wide base; heart and diaphragm are painted over them."""
    solids = []
    for side, name in ((1.0, "right"), (-1.0, "left")):
        lung = palette.compartment(f"lung_{name}", "lung")
        cone = ellipsoid(body.at(side * 62, -14, 160), body.sizes(56, 80, 118), rotation(y_deg=-side * 9))
        base = ellipsoid(body.at(side * 69, -10, 92), body.sizes(57, 83, 88), exponent=2.5)
        solids += [cone.paint(lung), base.paint(lung)]
    return solids


def upper_abdomen(body: Build, palette: Palette, random: np.random.Generator) -> list[Solid]:
    """Stomach, spleen, liver with gallbladder, pancreas, adrenals, kidneys."""

    def wobble(amplitude_mm: Number, wavelength_mm: Number) -> Wobble:
        a, b, c = random.uniform(0, 2 * np.pi, 3)
        return Wobble(amplitude_mm, wavelength_mm, (float(a), float(b), float(c)))

    solids = []
    fat = palette.compartment("mesentery", structure="")
    kidneys = [kidney(body, palette, side, name, float(random.normal(1.0, 0.05))) for side, name in _SIDES]
    for cortex, *_ in kidneys:
        solids.append(around(cortex, 7.0).paint(fat))
    fill = float((body.volume_ml["stomach"] / 385.0) ** (1 / 3))
    wall, content = (
        palette.compartment("stomach_wall", "gut_wall", "stomach"),
        palette.compartment("stomach_content", "gut_content", "stomach"),
    )
    path = [body.at(*p) for p in [(-48, -8, 84), (-66, 22, 62), (-60, 44, 20), (-30, 52, -2), (8, 44, 4)]]
    for solid in _chain(path, [26 * fill, 34 * fill, 27 * fill, 19 * fill, 13]):
        solids.append(solid.paint(wall, inner=content, thickness_mm=4.0))
    bubble = ellipsoid(body.at(-64, 38, 64), body.sizes(19, 10, 20) * fill)
    solids.append(bubble.paint(palette.compartment("stomach_gas", "gas", "stomach")))
    thick = float((body.volume_ml["pancreas"] / 102.0) ** 0.5)
    path = [body.at(*p) for p in [(40, 22, -14), (22, 30, 2), (-10, 26, 12), (-44, 2, 22), (-70, -18, 34)]]
    for solid in _chain(path, [21 * thick, 19 * thick, 16 * thick, 14 * thick, 12 * thick]):
        solids.append(solid.paint(palette.compartment("pancreas"), wobble=wobble(2.0, 22.0)))
    # The lobes overlap and end at the chest wall: 0.763 of the sum of their volumes is left at the reference size.
    size = float((body.volume_ml["liver"] / (0.763 * 1950.0)) ** (1.0 / 3.0))
    liver = palette.compartment("liver")
    anchor = np.array([76.0, 5.0, 40.0])
    for centre, radii, turn in (
        ((78, 2, 42), (53, 80, 70), rotation(y_deg=12)),
        ((92, 2, -8), (36, 62, 54), rotation(y_deg=6)),
        ((16, 38, 62), (66, 38, 34), rotation(y_deg=-14, z_deg=8)),
    ):
        middle = anchor + size * (np.array(centre, dtype=np.float64) - anchor)
        lobe = ellipsoid(body.at(*middle), np.array(radii) * size, turn)
        solids.append(lobe.paint(liver, wobble=wobble(3.0, 90.0)))
    solids.append(
        ellipsoid(body.at(52, 40, 2), body.sizes(13, 15, 26), rotation(x_deg=20)).paint(
            palette.compartment("gallbladder", "bile")
        )
    )
    for (side, name), parts in zip(_SIDES, kidneys, strict=True):
        adrenal = ellipsoid(body.at(side * 42, -40, 44), body.sizes(4.5, 13, 15), rotation(z_deg=side * 30))
        solids += [
            around(parts[0], 2.5).paint(fat),
            adrenal.paint(palette.compartment(f"adrenal_{name}", "adrenal")),
            *parts,
        ]
    spleen = ellipsoid(
        body.at(-92, -42, 62), _fit_radii(1.11 * body.volume_ml["spleen"], (23, 38, 52)), rotation(x_deg=25, z_deg=-28)
    )
    solids.append(spleen.paint(palette.compartment("spleen"), wobble=wobble(2.0, 60.0)))
    return solids


def kidney(body: Build, palette: Palette, side: float, name: str, share: float) -> list[Solid]:
    """Cortex and medulla as nested ellipsoids (first), fat of the sinus and the pelvis at the hilum."""
    structure = f"kidney_{name}"
    centre = body.at(side * 70, -40, -12 if side > 0 else -2)
    # The sinus takes 7 % of the ellipsoid.
    radii = _fit_radii(share * 0.5 * body.volume_ml["kidneys"] / 0.93, (27, 25, 55))
    turn = rotation(x_deg=8, y_deg=-side * 12) @ rotation(z_deg=-side * 30)
    inward = turn @ np.array([-side * radii[0], 0.0, 0.0])
    cortex = palette.compartment(f"{structure}_cortex", "kidney_cortex", structure)
    medulla = palette.compartment(f"{structure}_medulla", "kidney_medulla", structure)
    depth = 0.38 * float(min(radii))
    fat = palette.compartment("mesentery", structure="")
    sinus = ellipsoid(centre + 0.95 * inward, radii * np.array([0.55, 0.42, 0.40]), turn)
    pelvis = ellipsoid(centre + 0.85 * inward, radii * np.array([0.32, 0.26, 0.22]), turn)
    return [
        ellipsoid(centre, radii, turn).paint(cortex, inner=medulla, thickness_mm=depth),
        sinus.paint(fat),
        pelvis.paint(palette.compartment(f"renal_pelvis_{name}", "urine", "")),
    ]


def bowel(body: Build, palette: Palette, random: np.random.Generator) -> list[Solid]:
    """Small-bowel loops, colon frame and rectum with walls, content and gas."""
    wall = palette.compartment("small_bowel_wall", "gut_wall", "small_bowel")
    content = palette.compartment("small_bowel_content", "gut_content", "small_bowel")
    solids = []
    point = np.array([20.0, 30.0, -40.0])
    for n in range(26):
        lift = -45.0 - 165.0 * (n / 25.0)
        target = np.array([random.uniform(-72, 72), random.uniform(0, 66), lift + random.uniform(-32, 32)])
        squeeze = 1.0 if target[2] > -180 else 0.7
        target[0] *= squeeze
        radius = random.uniform(10.5, 14.5)
        solids.append(tube(body.at(*point), body.at(*target), radius).paint(wall, inner=content, thickness_mm=2.2))
        point = target
    wall = palette.compartment("colon_wall", "gut_wall", "colon")
    content = palette.compartment("colon_content", "gut_content", "colon")
    frame = [
        (94, 8, -172, 25),
        (97, 2, -110, 23),
        (98, 0, -48, 22),
        (86, 40, -34, 20),
        (30, 76, -46, 19),
        (-40, 74, -38, 18),
        (-92, 34, 4, 18),
        (-104, -4, 22, 16),
        (-106, -8, -60, 15),
        (-102, 2, -140, 14),
        (-66, 24, -178, 15),
        (-30, 6, -214, 15),
        (12, -18, -218, 16),
        (2, -42, -244, 17),
        (0, -44, -300, 15),
    ]
    path = [body.at(*p[:3]) for p in frame]
    for solid in _chain(path, [float(p[3]) * float(random.uniform(0.9, 1.15)) for p in frame]):
        solids.append(solid.paint(wall, inner=content, thickness_mm=2.5))
    gas = palette.compartment("bowel_gas", "gas", "")
    for _ in range(int(random.integers(4, 10))):
        n = int(random.integers(0, len(frame)))
        x, y, z, r = frame[n]
        up = body.at(x, y + 0.3 * r, z + random.uniform(-12, 12))
        pocket = ellipsoid(up, np.array([random.uniform(0.5, 0.8), 0.5, random.uniform(0.5, 1.0)]) * r)
        solids.append(pocket.paint(gas))
    return solids


def pelvis(body: Build, palette: Palette) -> list[Solid]:
    """Urinary bladder, prostate or uterus."""
    solids = []
    if body.sex == "male":
        solids.append(ellipsoid(body.at(0, -12, -300), (22, 16, 17)).paint(palette.compartment("prostate")))
    else:
        womb = ellipsoid(body.at(0, -22, -238), (24, 22, 36), rotation(x_deg=50))
        solids.append(womb.paint(palette.compartment("uterus")))
    bladder = ellipsoid(body.at(0, 16, -262), _fit_radii(body.volume_ml["urinary_bladder"], (42, 34, 33)))
    wall = palette.compartment("bladder_wall", "gut_wall", "urinary_bladder")
    solids.append(
        bladder.paint(wall, inner=palette.compartment("urine", structure="urinary_bladder"), thickness_mm=3.0)
    )
    return solids


def neck(body: Build, palette: Palette, thyroid_left: float) -> list[Solid]:
    """Thyroid (of which the share `thyroid_left` remains after surgery), salivary glands."""
    solids = []
    lobe_ml = 0.5 * body.volume_ml["thyroid"] * thyroid_left
    thyroid = palette.compartment("thyroid")
    for side, name in ((1.0, "right"), (-1.0, "left")):
        lobe = ellipsoid(body.at(side * 18, 14, 292), _fit_radii(lobe_ml, (9, 9, 22)), rotation(y_deg=-side * 8))
        solids.append(lobe.paint(thyroid))
        parotid_ml = 0.31 * body.volume_ml["salivary_glands"]
        parotid = ellipsoid(body.at(side * 57, 12, 402), _fit_radii(parotid_ml, (11, 19, 25)))
        lower = ellipsoid(
            body.at(side * 30, 42, 358), _fit_radii(0.17 * body.volume_ml["salivary_glands"], (9, 15, 11))
        )
        gland = palette.compartment(f"salivary_gland_{name}", "salivary_gland")
        solids += [parotid.paint(gland), lower.paint(gland)]
    return solids
