"""Activity of structures before and after recovery, on digital patients without motion, against the truth.

`python -m benchmarks.recovery [--seeds 101,102,...] [--tracers Lu-177-DOTATATE,I-131-NaI]` prints the tables of
docs/explanation/recovery.md. The truth of a structure is the true activity of its voxels, weighted as the image is.
"""

import argparse
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from scipy import ndimage

from dosimetry.config import RecoverySettings
from dosimetry.metrics import Region
from dosimetry.recovery import correct_frames, plan_recovery
from dosimetry.structures import regions_of
from nufitdose.anatomy.prepared import prepare_anatomy
from nufitdose.phantom import DigitalPatient, PatientSettings, simulate_patient
from nufitdose.registration.series import overlay_series
from nufitdose.study import Structures, Study, TimePoint
from nufitdose.text import text_table
from nufitdose.volume import Quantity, Volume

_METHODS = ("none", "volume", "gtm")
_SCAN_H = {"Lu-177-DOTATATE": 24.0, "I-131-NaI": 48.0}
Errors = dict[tuple[str, str], list[tuple[float, float, float]]]  # (group, method): R, error, u(R)


def main() -> None:
    """Print errors by group of structures and method, and what contours one voxel too wide or too narrow do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="201,202,203,204,205")
    parser.add_argument("--tracers", default=",".join(_SCAN_H))
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    for tracer in given.tracers.split(","):
        errors: Errors = defaultdict(list)
        change: dict[str, list[float]] = defaultdict(list)
        for seed in map(int, given.seeds.split(",")):
            patient = simulate_patient(_settings(tracer, seed))
            for what, study in _studies(patient.study):
                for method in _METHODS if what == "as drawn" else ("none", "gtm"):
                    found = _judge(patient, study, method, what, errors)
                    change[method] += [found] if what == "as drawn" else []
        print(f"\n{tracer}, seeds {given.seeds}, {_SCAN_H[tracer]:g} h\n{_table(errors)}")
        for method in _METHODS[1:]:
            least, most = np.min(change[method]), np.max(change[method])
            print(f"change of total activity by {method}: {least:+.1f} to {most:+.1f} %")


def _settings(tracer: str, seed: int) -> PatientSettings:
    return PatientSettings(
        tracer=tracer,
        seed=seed,
        shape=(64, 64, 64),
        spacing_mm=5.0,
        times_h=(_SCAN_H[tracer],),
        motion=0.0,
        tumours=6,
        tumour_mm=(10.0, 50.0),
    )


def _studies(study: Study) -> Iterator[tuple[str, Study]]:
    """The study with its contours as they are, and with those of tumours one voxel of the CT wider and narrower."""
    yield "as drawn", study
    structures = study.structures
    assert structures is not None
    for what, change in (("contour + 1 voxel", ndimage.binary_dilation), ("contour - 1 voxel", ndimage.binary_erosion)):
        (layer,) = structures.layers
        labels = layer.data.copy()
        for label, name in structures.names.items():
            if name in structures.tumours:
                own = layer.data == label
                labels[own] = 0
                labels[change(own)] = label
        drawn = Structures((layer.with_data(labels),), structures.names, structures.tumours)
        scan = study.reference
        point = TimePoint.of(scan.id, scan.time_h, scan.activity, scan.ct, drawn)
        yield what, replace(study, timepoints=(point,))


def _judge(patient: DigitalPatient, study: Study, method: str, what: str, errors: Errors) -> float:
    """Add the errors of every structure; returns the change of the total activity, percent."""
    grid, ct = study.reference.activity.grid, study.reference.ct
    assert ct is not None
    regions = regions_of(study)
    as_drawn = regions_of(patient.study)
    frames = overlay_series(study)
    settings = RecoverySettings.model_validate({"method": method})
    plan = plan_recovery(study, frames, regions, prepare_anatomy(ct, grid), settings)
    (frame,), found = correct_frames(plan, frames)
    true = Volume(patient.truth.timepoints[0].activity, grid, Quantity.ACTIVITY)
    for name, region in regions.items():
        group = _group(name, as_drawn)
        if group is None or (what != "as drawn" and not group.startswith("tumour")):
            continue
        error = region.mean(frame.activity) / as_drawn[name].mean(true) - 1.0
        key = (f"{group}, {what}" if what != "as drawn" else group, method)
        errors[key].append((found.value(name), error, found.relative_u(name)))
    return found.total_change_percent[frame.id]


def _group(name: str, regions: Mapping[str, Region]) -> str | None:
    if name.startswith("tumour"):
        volume_ml = regions[name].volume_ml if name in regions else 0.0
        return "tumour < 2 mL" if volume_ml < 2 else "tumour 2-10 mL" if volume_ml < 10 else "tumour > 10 mL"
    return "kidneys" if name.startswith("kidney") else name if name in ("liver", "spleen") else None


def _table(errors: Errors) -> str:
    rows = []
    for (group, method), found in sorted(errors.items()):
        recovery, error, u = np.array(found).T
        percent = 100.0 * error
        pull = np.log1p(error) / u
        rows.append(
            [
                group,
                method,
                f"{len(found)}",
                f"{np.median(recovery):.2f}",
                f"{np.median(percent):+.1f}",
                f"{np.percentile(percent, 10):+.0f} to {np.percentile(percent, 90):+.0f}",
                f"{np.mean(np.abs(pull) < 1):.2f}" if method != "none" else "",
            ]
        )
    everything = [
        e for (g, m), f in errors.items() if m == "gtm" and g in ("tumour 2-10 mL", "tumour > 10 mL") for e in f
    ]
    heads = ["structures", "correction", "n", "R", "median error %", "10-90 %", "within u(R)"]
    tumours = f"tumours >= 2 mL, gtm: {len(everything)}, median {100 * np.median([e for _, e, _ in everything]):+.1f} %"
    return f"{text_table(heads, rows)}\n{tumours}"


if __name__ == "__main__":
    main()
