"""Digital patients: the pictures and the numbers of docs/explanation/phantom.md.

python benchmarks/phantom.py docs/images [--beside DIR]

With `--beside` and the real FDG PET/CT (folder `fdg_petct` of NUFITDOSE_DATA) a picture of a slice of it beside the
phantom's is written to DIR, which must lie outside the repository: patients are not shown in documentation.
"""

import argparse
import os
import resource
import time
from pathlib import Path

import matplotlib
import numpy as np
from scipy import ndimage

from nufitdose.grid import Grid
from nufitdose.io.importer.planning import plan_import
from nufitdose.nuclides import half_life_h
from nufitdose.phantom import PatientSettings, simulate_patient
from nufitdose.phantom.fields import jacobian_determinant
from nufitdose.phantom.scanner import SCANNERS, scan

matplotlib.use("Agg")
import matplotlib.pyplot as plt

NEMA_MM = (10.0, 13.0, 17.0, 22.0, 28.0, 37.0, 60.0)
# Recovery of means (VOI-A50) that EARL accepts of FDG PET, 2017, for the six spheres of NEMA.
EARL = ((0.27, 0.44, 0.57, 0.63, 0.72, 0.76), (0.43, 0.60, 0.73, 0.78, 0.85, 0.89))


def picture_patient(patient, path):
    """One row a scan: CT in three planes, activity as coronal maximum."""
    scans = patient.study.timepoints
    fig, axes = plt.subplots(len(scans), 5, figsize=(13, 2.75 * len(scans)), facecolor="black")
    for row, tp in zip(axes, scans, strict=True):
        ct, activity = tp.ct.data, tp.activity.data
        i, j, k = (n // 2 for n in ct.shape)
        high = int(ct.shape[2] * 0.83)
        for axis, plane in zip(
            row, (ct[::-1, ::-1, high], ct[::-1, ::-1, k], ct[::-1, j, ::-1], ct[i, :, ::-1]), strict=False
        ):
            axis.imshow(plane.T, cmap="gray", vmin=-180, vmax=260)
        row[4].imshow(activity.max(axis=1)[::-1, ::-1].T, cmap="inferno", vmax=np.percentile(activity, 99.95))
        row[0].set_title(f"{tp.id}, {tp.time_h:g} h", color="white", fontsize=9, loc="left")
        for axis in row:
            axis.axis("off")
    fig.tight_layout(pad=0.3)
    fig.savefig(path, dpi=62)
    plt.close(fig)


def picture_motion(patient, path):
    """Displacement and Jacobian in a coronal plane of the second scan."""
    truth, ct = patient.truth.timepoint("tp2"), patient.truth.ct
    j = ct.grid.shape[1] // 2
    size = np.linalg.norm(truth.field, axis=0)[:, j, :]
    jacobian = jacobian_determinant(truth.field, truth.grid)[:, j, :]
    fig, axes = plt.subplots(1, 3, figsize=(11, 3.9))
    for axis in axes:
        axis.imshow(ct.data[::-1, j, ::-1].T, cmap="gray", vmin=-180, vmax=260)
        axis.axis("off")
    step = 5
    x, z = np.meshgrid(np.arange(0, size.shape[0], step), np.arange(0, size.shape[1], step), indexing="ij")
    u = truth.field[:, ::step, j, ::step] / truth.grid.spacing_mm[0]
    axes[0].quiver(size.shape[0] - 1 - x, size.shape[1] - 1 - z, -u[0], -u[2], color="gold", angles="xy",
                   scale_units="xy", scale=1.0, width=0.004)  # fmt: skip
    axes[0].set_title("displacement (to scale)")
    shown = axes[1].imshow(size[::-1, ::-1].T, cmap="viridis", alpha=0.65)
    fig.colorbar(shown, ax=axes[1], label="mm", shrink=0.8)
    axes[1].set_title("its size")
    shown = axes[2].imshow(jacobian[::-1, ::-1].T, cmap="RdBu", vmin=0.5, vmax=1.5, alpha=0.65)
    fig.colorbar(shown, ax=axes[2], shrink=0.8)
    axes[2].set_title("Jacobian determinant")
    fig.tight_layout()
    fig.savefig(path, dpi=65)
    plt.close(fig)


def recovery(scanner, depth_mm):
    """Mean concentration in spheres in a cold background over the true one, without noise."""
    grid = Grid.from_spacing((64, 64, 64), (2.0, 2.0, 2.0))
    r = np.linalg.norm(grid.world(np.moveaxis(np.indices(grid.shape).astype(float), 0, -1)), axis=-1)
    depth = np.full(grid.shape, depth_mm, dtype=np.float32)
    found = []
    for diameter in NEMA_MM:
        true = np.clip(0.5 - (r - diameter / 2) / 2.0, 0, 1).astype(np.float32)
        image = scan(true, depth, grid, scanner, np.random.default_rng(1), noise=False)
        found.append(float((image * true).sum() / true.sum()))
    return found


def picture_recovery(path):
    """Recovery against diameter, with phantom measurements."""
    fig, axis = plt.subplots(figsize=(5.6, 3.6))
    for name, style in (("Lu-177", "-"), ("I-131", "--"), ("F-18", ":")):
        deep, shallow = recovery(SCANNERS[name], 200.0), recovery(SCANNERS[name], 0.0)
        line = axis.plot(NEMA_MM, deep, style, marker=".", label=f"{name}, {SCANNERS[name].name}")[0]
        axis.fill_between(NEMA_MM, deep, shallow, color=line.get_color(), alpha=0.2)
        print(name, "deep", np.round(deep, 2), "at the surface", np.round(shallow, 2))
    axis.errorbar(NEMA_MM[:-1], np.mean(EARL, axis=0), np.diff(EARL, axis=0)[0] / 2, fmt="none", color="0.4", capsize=3,
                  label="F-18, limits of EARL (means)")  # fmt: skip
    axis.plot([10.0, 13.0], [0.18, 0.43], "kx", label="Lu-177 measured (Hippeläinen 2016)")
    axis.set(xlabel="sphere diameter (mm)", ylabel="mean recovery", ylim=(0, 1))
    axis.legend(fontsize=7)
    axis.grid(alpha=0.3)
    fig.tight_layout()
    fig.savefig(path, dpi=75)
    plt.close(fig)


def liver_numbers():
    """CT number and noise, coefficient of variation and SUV inside the liver, 12 mm from its surface."""
    options = {"shape": (96, 96, 72), "spacing_mm": 4.0, "centre_z_mm": 50.0, "tumours": 2, "motion": 0.0}
    for tracer in ("Lu-177", "I-131", "F-18", "Ga-68-PSMA"):
        made = simulate_patient(
            PatientSettings(tracer=tracer, seed=1, contrast=False, tumour_sites=("bone",), **options)
        )
        label = next(n for n, name in made.truth.names.items() if name == "liver")
        inside = ndimage.binary_erosion(made.truth.labels.data == label, iterations=3)
        ct = made.study.reference.ct.resampled_to(made.truth.ct.grid).data[inside]
        print(f"{tracer}: liver {ct.mean():.1f} ± {ct.std():.1f} HU")
        for tp in made.study.timepoints:
            values, true = tp.activity.data[inside], made.truth.timepoint(tp.id).activity
            noise = values / ndimage.gaussian_filter(true, 1.2)[inside]
            decay = 2 ** (tp.time_h / half_life_h(made.study.nuclide))
            suv = values.mean() * 70e3 / (made.study.administration.activity_mbq * 1e6) * decay
            print(
                f"  {tp.time_h:g} h: CV {100 * values.std() / values.mean():.1f} %, of noise alone "
                f"{100 * noise.std() / noise.mean():.1f} %, recovered {values.mean() / true[inside].mean():.3f}, "
                f"SUV {suv:.2f}"
            )


def speed():
    """128³ voxels of 4 mm, four scans."""
    simulate_patient(PatientSettings(shape=(24, 24, 24), spacing_mm=12.0, times_h=(4.0, 24.0)))
    start, cpu = time.monotonic(), time.process_time()
    simulate_patient(PatientSettings(shape=(128, 128, 128), spacing_mm=4.0, seed=1))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    seconds, processor = time.monotonic() - start, time.process_time() - cpu
    print(f"128^3, 4 scans: {seconds:.1f} s, {processor:.1f} s of processor, {peak:.2f} GB")


def beside_real(folder):
    """The level of the liver in the real FDG PET/CT beside a phantom's; numbers of both on the same terms."""
    real = plan_import(Path(os.environ["NUFITDOSE_DATA"]) / "fdg_petct").study
    shape, spacing = real.reference.activity.grid.shape, real.reference.activity.grid.spacing_mm
    phantom = simulate_patient(PatientSettings(
        tracer="F-18", shape=(96, 96, round(shape[2] * spacing[2] / spacing[0])), spacing_mm=spacing[0],
        ct_spacing_mm=2.0, seed=11, sex="male", arms="up", centre_z_mm=110.0, times_h=(real.reference.time_h,),
        administered_mbq=real.administration.activity_mbq,
        contrast=False,
    )).study  # fmt: skip
    fig, axes = plt.subplots(2, 4, figsize=(15, 7.5), facecolor="black")
    for row, study, kg in zip(axes, (real, phantom), (91.0, 75.0), strict=True):
        ct, activity = (upright(volume) for volume in (study.reference.ct, study.reference.activity))
        decay = 2 ** (study.reference.time_h / half_life_h(study.nuclide))
        suv = activity.data * kg * 1e3 * decay / (study.administration.activity_mbq * 1e6)
        place, k = liver_disc(ct, suv, activity.grid)
        inside = suv[place]
        hu = ct.resampled_to(activity.grid).data[place]
        print(
            f"liver: SUV {inside.mean():.2f}, CV {100 * inside.std() / inside.mean():.1f} %, {hu.mean():.0f} HU, "
            f"correlation of neighbours {neighbour_correlation(suv, place):.2f}; SUV 99.9 % of the scan "
            f"{np.percentile(suv, 99.9):.1f}"
        )
        z = activity.grid.world(np.array([0.0, 0.0, float(k)]))[2]
        ct_k = round(float(ct.grid.index(np.array([*ct.grid.centre_mm[:2], z]))[2]))
        j, i = ct.grid.shape[1] // 2, activity.grid.shape[1] // 2
        planes = (ct.data[:, :, ct_k], ct.data[:, j, :], suv[:, :, k], suv[:, i, :])
        for n, (axis, plane) in enumerate(zip(row, planes, strict=True)):
            high = {"cmap": "gray", "vmin": -160, "vmax": 240} if n < 2 else {"cmap": "gray_r", "vmin": 0, "vmax": 6}
            grid = (ct if n < 2 else activity).grid
            axis.imshow(plane[::-1, ::-1].T, aspect=grid.spacing_mm[2 if n % 2 else 1] / grid.spacing_mm[0], **high)
            axis.axis("off")
    fig.tight_layout(pad=0.3)
    fig.savefig(folder / "beside_real.png", dpi=62)
    plt.close(fig)


def upright(volume):
    """The same voxels along R, A and S."""
    grid = volume.grid
    return volume.resampled_to(Grid.from_spacing(grid.shape, grid.spacing_mm, centre_mm=grid.centre_mm.tolist()))


def liver_disc(ct, suv, grid):
    """A ball of 25 mm in the liver, and its slice: the most even of the warm soft tissue right of the spine."""
    hu = ct.resampled_to(grid).data
    radius = [12.0 / s for s in grid.spacing_mm]
    soft = ndimage.gaussian_filter(((hu > 20) & (hu < 100)).astype(np.float32), radius)
    mean = ndimage.gaussian_filter(suv, radius)
    spread = np.sqrt(np.clip(ndimage.gaussian_filter(suv**2, radius) - mean**2, 0, None)) / np.maximum(mean, 1e-3)
    x = grid.world(np.moveaxis(np.indices(grid.shape).astype(float), 0, -1))
    right = x[..., 0] > x[..., 0][soft > 0.5].mean() + 40.0
    allowed = right & (mean > 1.2) & (soft > 0.9 * soft[right].max())
    centre = np.unravel_index(int(np.argmin(np.where(allowed, spread, np.inf))), grid.shape)
    place = np.linalg.norm(x - x[centre], axis=-1) < 25.0
    return place, centre[2]


def neighbour_correlation(image, place):
    """Correlation of voxels with their neighbours along x and y, of the deviations from the mean."""
    d = image - image[place].mean()
    variance = (d[place] ** 2).mean()
    return float(np.mean([(d * np.roll(d, 1, axis))[place].mean() / variance for axis in (0, 1)]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--beside", type=Path, help="where the picture beside a real slice goes, outside the repository"
    )
    asked = parser.parse_args()
    if asked.beside is not None:
        beside_real(asked.beside)
        return
    folder = asked.folder
    speed()
    picture_recovery(folder / "phantom_recovery.png")
    patient = simulate_patient(
        PatientSettings(shape=(96, 80, 112), spacing_mm=4.0, seed=3, sex="male", arms="up", contrast=True)
    )
    picture_patient(patient, folder / "phantom_patient.png")
    picture_motion(patient, folder / "phantom_motion.png")
    liver_numbers()


if __name__ == "__main__":
    main()
