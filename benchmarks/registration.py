"""Engines against elastix on digital patients, judged by their truth: `python -m benchmarks.registration`.

For each moving scan: error over landmarks of organs and of tumours inside the moving field of view, non-diffeomorphic
volume in the body, seconds. For each patient: mean error of the activity that structures get on the reference grid,
as percent of what the exact field gives them from the same scans (an engine's excess over perfect registration).
elastix (itk-elastix) starts from its own rigid step on the CTs; `elastix tuned` follows Par0011 of its model zoo
(normalised correlation 1, bending energy 0.05 relative), `elastix default` its default rigid, affine, B-spline maps.
"""

import argparse
import os
import time
from collections.abc import Callable

import numpy as np

from nufitdose.anatomy.body import body_mask
from nufitdose.phantom import DigitalPatient, PatientSettings, simulate_patient
from nufitdose.registration.engines.registry import Task, engine_named
from nufitdose.registration.field import DisplacementField
from nufitdose.registration.quality import target_registration_error_mm
from nufitdose.study import TimePoint
from nufitdose.volume import Volume

Run = Callable[[TimePoint, TimePoint], DisplacementField]


def engine(name: str) -> Run:
    import torch

    def run(fixed: TimePoint, moving: TimePoint) -> DisplacementField:
        return engine_named(name)(Task(fixed, moving, fixed.ct.grid, torch.device("cpu")))

    return run


def _itk_image(volume: Volume):
    """RAS to LPS, the order of ITK."""
    import itk

    flip = np.diag([-1.0, -1.0, 1.0])
    image = itk.image_from_array(np.ascontiguousarray(volume.data.transpose(2, 1, 0)))
    image.SetSpacing([float(s) for s in volume.grid.spacing_mm])
    image.SetOrigin([float(c) for c in flip @ volume.grid.affine[:3, 3]])
    image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(flip @ volume.grid.directions)))
    return image


def _parameters(tuned: bool, iterations: int):
    import itk

    chosen = itk.ParameterObject.New()
    rigid = chosen.GetDefaultParameterMap("rigid", 4)
    rigid["AutomaticTransformInitialization"] = ["true"]
    rigid["MaximumNumberOfIterations"] = ["250"]
    chosen.AddParameterMap(rigid)
    if not tuned:
        affine = chosen.GetDefaultParameterMap("affine", 4)
        affine["MaximumNumberOfIterations"] = ["250"]
        chosen.AddParameterMap(affine)
        spline = chosen.GetDefaultParameterMap("bspline", 4, 16.0)
        spline["MaximumNumberOfIterations"] = ["500"]
        spline["Metric"] = ["AdvancedMattesMutualInformation"]
        spline["Registration"] = ["MultiResolutionRegistration"]
        spline.erase("Metric0Weight")
        spline.erase("Metric1Weight")
        chosen.AddParameterMap(spline)
    else:
        spline = chosen.GetDefaultParameterMap("bspline", 5, 10.0)
        settings = {
            "Registration": ["MultiMetricMultiResolutionRegistration"],
            "Metric": ["AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"],
            "UseRelativeWeights": ["true"],
            "Metric0RelativeWeight": ["1"],
            "Metric1RelativeWeight": ["0.05"],
            "NumberOfResolutions": ["5"],
            "ImagePyramidSchedule": [str(n) for n in (16, 8, 4, 2, 1) for _ in range(3)],
            "GridSpacingSchedule": ["8", "8", "4", "2", "1"],
            "FinalGridSpacingInPhysicalUnits": ["10"],
            "MaximumNumberOfIterations": [str(iterations)],
            "ImageSampler": ["RandomCoordinate"],
            "NumberOfSpatialSamples": ["4000"],
        }
        for key, value in settings.items():
            spline[key] = value
        chosen.AddParameterMap(spline)
    for number in range(chosen.GetNumberOfParameterMaps()):
        chosen.SetParameter(number, "DefaultPixelValue", "-1000")
    return chosen


def elastix(tuned: bool, iterations: int) -> Run:
    def run(fixed: TimePoint, moving: TimePoint) -> DisplacementField:
        import itk

        image_f, image_m = _itk_image(fixed.ct), _itk_image(moving.ct)
        method = itk.ElastixRegistrationMethod.New(image_f, image_m)
        method.SetParameterObject(_parameters(tuned, iterations))
        method.SetNumberOfThreads(2)
        method.UpdateLargestPossibleRegion()
        field = itk.transformix_deformation_field(image_m, method.GetTransformParameterObject())
        lps = itk.array_from_image(field).transpose(3, 2, 1, 0)
        return DisplacementField(lps * np.array([-1, -1, 1], np.float32)[:, None, None, None], fixed.ct.grid)

    return run


def judged(patient: DigitalPatient, fields: dict[str, DisplacementField]) -> dict[str, float]:
    """Means over the moving scans of one patient."""
    study, truth = patient.study, patient.truth
    body = body_mask(study.reference)
    rows = {"organ TRE mm": [], "tumour TRE mm": [], "NDV %": [], "organ activity %": [], "tumour activity %": []}
    masks = {name: truth.labels.data == label for label, name in truth.names.items()}
    for moving in study.timepoints[1:]:
        field = fields[moving.id]
        marks = [m for m in truth.landmarks if m.timepoint == moving.id]
        points = [np.array([getattr(m, f"{side}_mm") for m in marks]) for side in ("fixed", "moving")]
        seen = moving.ct.grid.contains(points[1])
        error = target_registration_error_mm(field, *points)
        tumour = np.array([m.structure in truth.tumours for m in marks])
        rows["organ TRE mm"].append(error[seen & ~tumour].mean())
        rows["tumour TRE mm"].append(error[seen & tumour].mean())
        inside = body.resampled_to(field.grid).data > 0.5
        rows["NDV %"].append(field.jacobian_statistics(inside).ndv_percent)
        exact = DisplacementField(truth.timepoint(moving.id).field, truth.timepoint(moving.id).grid)
        brought, wanted = (f.warp(moving.activity, truth.labels.grid).data for f in (field, exact))
        for kind in ("organ", "tumour"):
            off = [
                abs(brought[where].sum() / wanted[where].sum() - 1) * 100
                for name, where in masks.items()
                if (name in truth.tumours) == (kind == "tumour") and wanted[where].sum() > 0
            ]
            rows[f"{kind} activity %"].append(np.mean(off))
    return {name: float(np.mean(values)) for name, values in rows.items()}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seeds", default="501,502,503")
    arguments.add_argument("--engines", default="none,rigid,refine,elastix default,elastix tuned")
    arguments.add_argument("--times", default="4,24,96")
    arguments.add_argument("--voxels", type=int, default=80)
    arguments.add_argument("--spacing", type=float, default=4.8)
    arguments.add_argument("--iterations", type=int, default=1000, help="of elastix tuned, on each resolution")
    given = arguments.parse_args()
    table: dict[str, list[dict[str, float]]] = {name: [] for name in given.engines.split(",")}
    for seed in (int(s) for s in given.seeds.split(",")):
        patient = simulate_patient(
            PatientSettings(
                times_h=[float(t) for t in given.times.split(",")],
                shape=(given.voxels,) * 3,
                spacing_mm=given.spacing,
                seed=seed,
            )
        )
        for name, rows in table.items():
            run = elastix(name == "elastix tuned", given.iterations) if "elastix" in name else engine(name)
            start, busy = time.perf_counter(), time.process_time()
            fields = {tp.id: run(patient.study.reference, tp) for tp in patient.study.timepoints[1:]}
            row = judged(patient, fields)
            row["wall s"] = (time.perf_counter() - start) / len(fields)
            row["CPU s"] = (time.process_time() - busy) / len(fields)
            rows.append(row)
            print(seed, name, {k: round(v, 3) for k, v in row.items()}, flush=True)
    print(f"mean ± standard deviation over {len(next(iter(table.values())))} patients, {os.cpu_count()} CPUs")
    for name, rows in table.items():
        cells = [f"{k} {np.mean([r[k] for r in rows]):.2f} ± {np.std([r[k] for r in rows]):.2f}" for k in rows[0]]
        print(f"{name:16s} " + "   ".join(cells))


if __name__ == "__main__":
    main()
