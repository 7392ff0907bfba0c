"""Do voxel integrals add up, however noisy the voxels are? python -m benchmarks.voxel_sums [voxels].

Two questions apart: do voxels add to their structure's curve, and is that curve the true one, which the scans decide.
A structure of one curve and a remainder of another, by the default path of the patient run, points known to 2 %; noise
is normal, its deviation a multiple of the activity of each voxel, negative values kept.
"""

import sys
from dataclasses import dataclass

import numpy as np

from dosimetry.config import KineticsSettings
from dosimetry.curves.structures import StructureCurve, structure_curves
from dosimetry.curves.voxels import fit_frames
from dosimetry.metrics import Region
from nufitdose import kinetics
from nufitdose.grid import Grid
from nufitdose.nuclides import half_life_h
from nufitdose.registration.series import Frame
from nufitdose.volume import Quantity, Volume

LN2 = np.log(2.0)
LU_H = half_life_h("Lu-177")
CURVES = {  # amplitudes, half-lives in h
    "mono": ((100.0,), (55.0,)),
    "f3": ((100.0, -100.0), (55.0, 6.0)),
    "f3a": ((70.0, 30.0), (12.0, LU_H)),
    "bi": ((50.0, 50.0), (12.0, 70.0)),
}
PROTOCOLS = ((4.0, 24.0, 72.0), (4.0, 24.0, 72.0, 168.0), (1.0, 4.0, 24.0, 48.0, 96.0, 168.0))
NOISE = (0.3, 0.6, 1.0, 2.0)


def truth(name):
    """Amplitudes, Bq/mL, and rates, 1/h."""
    amplitudes, half_lives = CURVES[name]
    return np.array(amplitudes), LN2 / np.array(half_lives)


def body(voxels, inside, outside, protocol, noise, rng):
    """Frames of a structure in the lower half of a box, the remainder above, and the structure's region."""
    grid = Grid.from_spacing((voxels // 400, 20, 40), (4.0, 4.0, 4.0))
    held = np.zeros(grid.shape, bool)
    held[..., :20] = True
    frames = []
    for number, time_h in enumerate(protocol):
        clean = np.where(held, *(kinetics.value(*truth(name), np.array([time_h]))[0] for name in (inside, outside)))
        activity = Volume((clean * (1.0 + noise * rng.normal(size=grid.shape))).astype(np.float32), grid,
                          Quantity.ACTIVITY)  # fmt: skip
        frames.append(Frame(f"tp{number}", time_h, activity, activity.total_mbq()))
    index = np.flatnonzero(held)
    return frames, {"organ": Region(index, np.full(index.size, grid.voxel_volume_ml), 0.0)}


@dataclass(frozen=True)
class Sums:
    """Of a structure and of the rest: Σ of voxels over the truth, over the own curve, and over it before scaling."""

    to_truth: tuple[float, float]
    to_curve: tuple[float, float]
    before: tuple[float, float]
    curve: StructureCurve


def measure(inside, protocol, noise, voxels=40_000, seed=0, **settings):
    rng = np.random.default_rng([seed, int(10 * noise), len(protocol)])
    frames, regions = body(voxels, inside, "bi", protocol, noise, rng)
    chosen = KineticsSettings(**settings)
    curves = structure_curves(frames, regions, chosen, LU_H)
    fitted = fit_frames(frames, LU_H, chosen, regions, curves)
    tia = fitted.fit.tia.astype(np.float64)
    voxel_ml = frames[0].activity.grid.voxel_volume_ml
    index = regions["organ"].index
    sums = {"organ": tia[index].sum(), "rest": np.delete(tia, index).sum()}
    true = {"organ": kinetics.integral(*truth(inside)), "rest": kinetics.integral(*truth("bi"))}
    count = {"organ": index.size, "rest": tia.size - index.size}
    return Sums(
        tuple(sums[name] / (count[name] * true[name]) for name in sums),
        tuple(sums[name] * voxel_ml / (1e6 * curves.of(name).tia_mbq_h) for name in sums),
        tuple(fitted.sum_to_curve[name] for name in sums),
        curves.structures["organ"],
    )


def curve_words(curve, to_truth):
    """u of the curve, its 95 % interval over the truth, its light and its model; an average alone has an interval."""
    words = f"{curve.u_tia_mbq_h / curve.tia_mbq_h:.0%}"
    if curve.average is not None:
        low, high = np.array(curve.average.tia_95_mbq_h) / curve.tia_mbq_h * to_truth
        words += f", {low:.2f} to {high:.2f}{', red' if curve.average.red else ''}"
    return f"{words}, {curve.model}"


def main(voxels):
    print(
        f"{'':16}{'Σ/truth':>15}{'Σ/its curve':>15}{'before scaling':>16}{'alone':>8}  u, its 95 % over the truth"
        f"\n{'curve':6}{'scans':>5}{'noise':>5}{'own':>8}{'rest':>7}{'own':>8}{'rest':>7}{'own':>9}{'rest':>7}"
    )
    for protocol in PROTOCOLS:
        for inside in CURVES:
            for noise in NOISE:
                given = {"voxels": voxels, "u_activity_percent": 2.0}
                found = measure(inside, protocol, noise, **given)
                alone = measure(inside, protocol, noise, guided=False, **given).before[0]
                print(
                    f"{inside:6}{len(protocol):5}{noise:5.1f}"
                    f"{found.to_truth[0]:8.3f}{found.to_truth[1]:7.3f}{found.to_curve[0]:8.3f}{found.to_curve[1]:7.3f}"
                    f"{found.before[0]:9.3f}{found.before[1]:7.3f}{alone:8.3f}"
                    f"  {curve_words(found.curve, found.to_truth[0])}",
                    flush=True,
                )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40_000)
