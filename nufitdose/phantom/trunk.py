"""The body outline and its layers: skin, fat, muscle, the chest and abdominal cavity, limbs, breasts."""

from itertools import pairwise

import numpy as np

from nufitdose.phantom.build import Build
from nufitdose.phantom.shapes import Profile, Solid, Wobble, ellipsoid, loft, rotation, tube
from nufitdose.phantom.skeleton import arm_joints
from nufitdose.phantom.tissues import Palette

SKIN_MM = 2.0

# z, half-width, half-depth, centre y of the muscular trunk, neck to crotch (reference mm).
_MUSCLE = np.array(
    [
        [-372, 128, 62, -22],
        [-340, 168, 82, -24],
        [-300, 173, 90, -24],
        [-260, 170, 91, -22],
        [-210, 162, 90, -16],
        [-160, 152, 90, -8],
        [-120, 144, 92, -3],
        [-80, 140, 94, 0],
        [-40, 140, 98, 2],
        [0, 143, 102, 4],
        [40, 147, 106, 2],
        [80, 152, 107, -4],
        [120, 160, 106, -10],
        [160, 168, 104, -18],
        [200, 172, 98, -25],
        [235, 168, 84, -31],
        [262, 140, 66, -31],
        [285, 96, 55, -26],
        [302, 66, 50, -18],
        [325, 56, 50, -8],
        [365, 54, 54, -2],
        [415, 55, 60, 6],
    ],
    dtype=np.float64,
)
_CAVITY = np.array(
    [
        [-318, 52, 40, 2],
        [-285, 82, 56, 0],
        [-240, 98, 62, 2],
        [-185, 110, 70, 8],
        [-120, 118, 76, 14],
        [-60, 122, 82, 14],
        [0, 127, 88, 10],
        [60, 131, 93, 3],
        [110, 132, 93, -2],
        [150, 127, 88, -8],
        [190, 114, 78, -15],
        [225, 102, 64, -22],
        [255, 78, 46, -26],
        [278, 44, 28, -24],
    ],
    dtype=np.float64,
)


def _scale(knots: np.ndarray, body: Build) -> Profile:
    scale = np.array([body.length, body.width, body.depth, body.depth])
    return Profile(knots * scale)


def cavity_profile(body: Build) -> Profile:
    """The inner wall of chest and abdomen."""
    return _scale(_CAVITY, body)


def muscle_profile(body: Build) -> Profile:
    """The outer surface of the muscular wall; at least 9 mm outside the cavity, so that the ribs fit between."""
    muscle = _scale(_MUSCLE, body).grow(body.muscle_mm)
    cavity, knots = cavity_profile(body), muscle.knots.copy()
    for n, z in enumerate(knots[:, 0]):
        if cavity.knots[0, 0] < z < cavity.knots[-1, 0]:
            width, depth, centre = cavity.at(float(z))
            knots[n, 1] = max(knots[n, 1], width + 12.0)
            knots[n, 2] = max(knots[n, 2], depth + abs(centre - knots[n, 3]) + 11.0)
    return Profile(knots)


def fat_profile(body: Build, muscle: Profile) -> Profile:
    """The muscular wall with its layer of fat, thicker at the belly and the hips than at the neck."""
    knots = muscle.knots.copy()
    z = knots[:, 0] / body.length
    belly = 0.35 + 0.65 * np.exp(-(((z + 120.0) / 190.0) ** 2))
    knots[:, 1] += body.fat_mm * belly
    knots[:, 2] += body.fat_mm * belly
    knots[:, 3] += 0.35 * body.fat_mm * np.exp(-(((z + 60.0) / 110.0) ** 2))  # the belly bulges forward
    return Profile(knots)


def outline(body: Build, palette: Palette, index: dict[str, int]) -> list[Solid]:
    """Skin and fat of the whole figure, then its muscle; `index` is the place of each profile."""
    skin, fat, muscle = (palette.compartment(name, structure="") for name in ("skin", "fat", "muscle"))
    fat_mm, limb_fat = body.fat_mm, 3.0 + 0.3 * body.fat_mm

    def cover_with_skin(solid: Solid) -> Solid:
        return solid.paint(skin, inner=fat, thickness_mm=SKIN_MM)

    outer = [cover_with_skin(loft(_whole(body), index["fat"]))]
    inner: list[Solid] = []
    for side in (-1.0, 1.0):
        hip, knee = body.at(side * 92, -16, -330), body.at(side * 82, -10, -640)
        outer.append(cover_with_skin(tube(hip, knee, 86 + 0.5 * fat_mm, 62 + limb_fat)))
        inner.append(tube(hip, knee, 80, 58).paint(muscle))
        neck, acromion = body.at(side * 26, -46, 325), body.at(side * 150, -48, 258)
        outer.append(cover_with_skin(tube(neck, acromion, 30 + 0.3 * fat_mm, 44 + 0.3 * fat_mm)))
        inner.append(tube(neck, acromion, 26, 38).paint(muscle))
        shoulder = ellipsoid(body.at(side * 165, -26, 246), body.sizes(48, 50, 52))
        outer.append(cover_with_skin(shoulder))
        inner.append(ellipsoid(body.at(side * 163, -26, 246), body.sizes(42, 44, 46)).paint(muscle))
    for shoulder_mm, elbow, wrist in arm_joints(body):
        outer.append(cover_with_skin(tube(shoulder_mm, elbow, 44 + limb_fat * 0.6, 36 + limb_fat * 0.4)))
        outer.append(cover_with_skin(tube(elbow, wrist, 37 + limb_fat * 0.4, 25)))
        inner.append(tube(shoulder_mm, elbow, 41, 33).paint(muscle))
        inner.append(tube(elbow, wrist, 34, 21).paint(muscle))
    head = cover_with_skin(ellipsoid(body.at(0, 10, 476), body.sizes(80, 100, 88)))
    jaw = ellipsoid(body.at(0, 52, 402), body.sizes(66, 58, 52)).paint(skin, inner=muscle, thickness_mm=7.0)
    if body.sex == "female":
        outer += breasts(body, palette)
    trunk = loft(muscle_profile(body), index["muscle"]).paint(muscle)
    return [*outer, head, jaw, *inner, trunk]


def _whole(body: Build) -> Profile:
    return fat_profile(body, muscle_profile(body))


def breasts(body: Build, palette: Palette) -> list[Solid]:
    """Breasts: skin, glandular tissue mixed with fat."""
    skin, gland = palette.compartment("skin", structure=""), palette.compartment("breast", structure="")
    size = 42.0 + 0.9 * body.fat_mm
    return [
        ellipsoid(body.at(side * 82, 76, 132), (size * 1.15, size, size * 1.1)).paint(
            skin, inner=gland, thickness_mm=SKIN_MM
        )
        for side in (-1.0, 1.0)
    ]


def muscles(body: Build, palette: Palette) -> list[Solid]:
    """Fat planes in the wall, and the muscles beside the spine and in the pelvis that lie in the cavity."""
    fat = palette.compartment("fat", structure="")
    solids = []
    for side in (-1.0, 1.0):
        gluteal_cleft = ellipsoid(body.at(side * 62, -72, -262), body.sizes(6, 34, 50), rotation(z_deg=side * 50))
        axilla = ellipsoid(body.at(side * 146, -22, 214), body.sizes(10, 26, 30), rotation(z_deg=side * 15))
        solids += [gluteal_cleft.paint(fat), axilla.paint(fat)]
        thigh_gap = tube(body.at(side * 52, 20, -335), body.at(side * 60, 15, -560), 9)
        solids.append(thigh_gap.paint(fat, wobble=Wobble(3.0, 60.0, (0.4, 1.3, 2.2))))
    return solids


def deep_muscles(body: Build, palette: Palette) -> list[Solid]:
    """Psoas, iliacus and erector spinae, painted over the cavity."""
    muscle = palette.compartment("muscle", structure="")
    solids = []
    for side in (-1.0, 1.0):
        psoas = [(34, -30, -8, 11), (44, -24, -90, 20), (58, -14, -170, 24), (78, 18, -255, 19), (92, 12, -305, 15)]
        for (x, y, z, r), (x2, y2, z2, r2) in pairwise(psoas):
            solids.append(tube(body.at(side * x, y, z), body.at(side * x2, y2, z2), r, r2).paint(muscle))
        erector = tube(body.at(side * 34, -76, -190), body.at(side * 30, -82, 230), 26, 20)
        quadratus = tube(body.at(side * 66, -50, -140), body.at(side * 58, -52, -5), 17, 13)
        solids += [erector.paint(muscle), quadratus.paint(muscle)]
    return solids
