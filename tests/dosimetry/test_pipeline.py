"""The whole chain in a few voxels whose answer is known on paper."""

import csv
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.small_study import GRID, small_study, small_study_folder, sphere

from dosimetry import DosimetrySettings, run_patient
from dosimetry.config import load_settings
from dosimetry.dose import sphere_s_value
from dosimetry.kinetics import FitStatus
from dosimetry.report import write_report
from nufitdose.anatomy.composition import mass_fractions, tissue_of_hu
from nufitdose.grid import Grid
from nufitdose.io.nifti import load_volume
from nufitdose.nuclides import chain_emissions
from nufitdose.registration import DisplacementField
from nufitdose.scanner import Calibration, Scanner
from nufitdose.study import Study, TimePoint
from nufitdose.volume import Quantity, Volume

AS_LAID = load_settings(None, ["registration.engine=none", "kinetics.model=mono", "dose.engine=local"])  # closed forms


def rows(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_decaying_sphere_gets_the_dose_of_its_exponential(tmp_path):
    results = run_patient(small_study(teff_h=60.0), tmp_path / "out", AS_LAID)
    tia = 2e5 * 60.0 / math.log(2)  # Bq·h/mL
    density = 1.03 + (40 - 23) / (100 - 23) * (1.1199 - 1.031) + 0.001  # Schneider at 40 HU
    dose = tia * 1e-6 * chain_emissions("Lu-177").local_gy_g_per_mbq_h / density
    volume_ml = sphere().sum() * GRID.voxel_volume_ml
    row, *_body = rows(tmp_path / "out/metrics.csv")
    assert row["structure"] == "liver"
    assert row["role"] == "organ"
    assert float(row["volume_ml"]) == pytest.approx(volume_ml, rel=1e-5)
    assert float(row["tia_mbq_h"]) == pytest.approx(tia * volume_ml * 1e-6, rel=1e-4)
    assert float(row["tiac_h"]) == pytest.approx(tia * volume_ml * 1e-6 / 7400.0, rel=1e-4)
    assert float(row["teff_h"]) == pytest.approx(60.0, rel=1e-4)
    for column in ("dose_mean_gy", "dose_d2_gy", "dose_d50_gy", "dose_d98_gy"):
        assert float(row[column]) == pytest.approx(dose, rel=1e-3)
    assert float(row["mass_g"]) == pytest.approx(volume_ml * density, rel=1e-3)
    assert results.maps.fit.status.reshape(GRID.shape)[sphere()].tolist() == [FitStatus.MONO] * int(sphere().sum())


def test_every_promised_file_is_there_and_means_what_it_says(tmp_path):
    run_patient(small_study_folder(tmp_path / "study"), tmp_path / "out", AS_LAID)
    out = tmp_path / "out"
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    scans = {f"registered/tp{n}_{what}.nii.gz" for n in (1, 2, 3) for what in ("activity", "ct")}
    fields = {f"registered/tp{n}_{what}.nii.gz" for n in (2, 3) for what in ("field", "u_registration_mm")}
    maps = {
        f"maps/{m}.nii.gz"
        for m in ("tia", "dose", "dose_uncertainty", "bed", "effective_half_life", "fit_model", "fit_rmse")
    }
    registration = {f"registration{what}.csv" for what in ("", "_structures", "_activity")}
    tables = {
        "metrics.csv",
        "isodoses.csv",
        "metrics_long.csv",
        "uncertainty.csv",
        "tac.csv",
        "dvh.csv",
        "curves.json",
        "tiac.txt",
    } | registration
    page = {f"report/{name}" for name in ("findings.json", "findings.npz", "pictures.json", "dose.jpg")}
    page |= {f"report/tp{n}_{what}_before.jpg" for n in (2, 3) for what in ("activity", "ct")}
    assert found == scans | fields | maps | tables | page | {"report.html", "run.json"}
    first = (out / "report.html").read_bytes()
    assert write_report(out).read_bytes() == first
    tia = load_volume(out / "maps/tia.nii.gz", Quantity.TIA)
    assert tia.grid.matches(GRID)
    assert tia.data[sphere()].mean() == pytest.approx(2e5 * 60.0 / math.log(2), rel=1e-4)
    half_life = load_volume(out / "maps/effective_half_life.nii.gz", Quantity.TIME)
    assert half_life.data[sphere()].mean() == pytest.approx(60.0, rel=1e-3)
    record = json.loads((out / "run.json").read_text())
    assert record["config"]["registration"]["engine"] == "none"
    assert {entry["path"] for entry in record["inputs"]} >= {"study.yaml", "tp1/activity.nii.gz"}
    assert record["versions"]["nufitdose"]
    assert record["timings_s"]
    curve = [row for row in rows(out / "tac.csv") if row["structure"] == "liver"]
    assert [float(r["time_h"]) for r in curve] == [4.0, 24.0, 96.0]
    for row in curve:
        assert float(row["fitted_mbq"]) == pytest.approx(float(row["activity_mbq"]), rel=1e-3)


def test_one_time_point_is_physical_decay_and_says_so(tmp_path):
    results = run_patient(small_study((24.0,)), tmp_path / "out")
    assert set(np.unique(results.maps.fit.status.reshape(GRID.shape)[sphere()])) == {FitStatus.ONE_POINT}
    row, *_body = rows(tmp_path / "out/metrics.csv")
    assert float(row["teff_h"]) == pytest.approx(159.528, rel=1e-4)
    assert row["u_tia_fit_mbq_h"] == ""  # the curve has no error; the total holds what is assumed for it
    assert float(row["u_tia_mbq_h"]) > 0.2 * float(row["tia_mbq_h"])
    assert any("degree of freedom" in warning for warning in results.warnings)


def test_activity_that_rises_is_integrated_and_then_decays(tmp_path):
    study = small_study((4.0, 24.0))
    early, late = study.timepoints
    rising = TimePoint.of("tp2", 24.0, early.activity.with_data(early.activity.data * 1.5), late.ct)
    risen = Study("P", "Lu-177", study.administration, "tp1", (early, rising))
    results = run_patient(risen, tmp_path / "out", AS_LAID)
    y1 = float(early.activity.data.max())
    y2, rate = 1.5 * y1, math.log(2) / 159.528
    expected = y1 * 4 / 2 + (y1 + y2) / 2 * 20 + y2 / rate
    assert results.maps.tia.data[sphere()].mean() == pytest.approx(expected, rel=1e-4)
    assert results.structures[0].status_percent == {"RISING": pytest.approx(100.0)}


def test_a_scan_that_misses_part_of_the_patient_leaves_those_voxels_to_the_others(tmp_path):
    study = small_study((4.0, 24.0, 96.0))
    late = study.timepoints[2]
    kept = GRID.shape[2] // 2
    upper = Volume(np.ascontiguousarray(late.activity.data[:, :, kept:]), shifted(kept), Quantity.ACTIVITY)
    cut = TimePoint.of("tp3", 96.0, upper, None)
    results = run_patient(
        Study("P", "Lu-177", study.administration, "tp1", (*study.timepoints[:2], cut)), tmp_path / "out", AS_LAID
    )
    expected = 2e5 * 60.0 / math.log(2)
    assert results.maps.tia.data[sphere()] == pytest.approx(np.full(int(sphere().sum()), expected), rel=1e-4)
    assert np.isnan(results.structures[0].curve.activity_mbq[2])
    assert any("lies outside scan tp3" in warning for warning in results.warnings)


def shifted(k):
    affine = np.array(GRID.affine)
    affine[:3, 3] = GRID.world(np.array([0.0, 0.0, k]))
    return Grid((GRID.shape[0], GRID.shape[1], GRID.shape[2] - k), affine)


def test_a_study_without_structures_or_ct_still_gives_maps(tmp_path):
    results = run_patient(small_study((4.0, 24.0), ct=False, structures=False), tmp_path / "out", AS_LAID)
    assert [row["structure"] for row in rows(tmp_path / "out/metrics.csv")] == ["whole_body"]
    assert (tmp_path / "out/report.html").stat().st_size > 0
    assert any("nufitdose segment STUDY" in warning for warning in results.warnings)
    assert {"no CT", "no structures"} <= {
        s for s in ("no CT", "no structures") if any(s in w for w in results.warnings)
    }


def test_a_second_run_replaces_the_first(tmp_path):
    folder = small_study_folder(tmp_path / "study")
    run_patient(folder, tmp_path / "out", AS_LAID)
    first = (tmp_path / "out/metrics.csv").read_text()
    run_patient(folder, tmp_path / "out", AS_LAID)
    assert (tmp_path / "out/metrics.csv").read_text() == first
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_rtdose_is_written_on_request(tmp_path):
    import pydicom

    settings = DosimetrySettings.model_validate(AS_LAID.model_dump() | {"output": {"dicom": "always"}})
    results = run_patient(small_study((4.0, 24.0)), tmp_path / "out", settings)
    found = pydicom.dcmread(tmp_path / "out/dicom/rtdose.dcm")
    assert found.Modality == "RTDOSE"
    assert found.pixel_array.max() * found.DoseGridScaling == pytest.approx(results.maps.dose.data.max(), rel=1e-5)


def test_beyond_the_ct_the_density_is_assumed_and_the_dose_is_not_lost(tmp_path):
    study = small_study((4.0, 24.0, 96.0))
    low, high = 3, 7
    affine = np.array(GRID.affine)
    affine[:3, 3] = GRID.world(np.array([0, 0, low]))
    short = Grid((GRID.shape[0], GRID.shape[1], high - low), affine)
    points = []
    for tp in study.timepoints:
        ct = Volume(np.ascontiguousarray(tp.ct.data[:, :, low:high]), short, Quantity.HU)
        points.append(TimePoint.of(tp.id, tp.time_h, tp.activity, ct, tp.structures))
    cut = Study("P", "Lu-177", study.administration, "tp1", tuple(points))
    results = run_patient(cut, tmp_path / "out", AS_LAID)
    dose = results.maps.dose.data
    seen = np.zeros(GRID.shape, bool)
    seen[:, :, low:high] = True
    delta = chain_emissions("Lu-177").local_gy_g_per_mbq_h
    np.testing.assert_allclose(dose[sphere() & ~seen], 2e5 * 60.0 / math.log(2) * 1e-6 * delta, rtol=1e-4)
    assert dose[sphere() & seen].max() < dose[sphere() & ~seen].min()
    assert any("beyond the reference CT" in warning for warning in results.warnings)


def test_a_rigid_motion_reaches_beyond_the_ct(tmp_path):
    """A field on a short CT grid must carry the activity outside it as the whole body moved, not as its border did."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("x", 10, degrees=True).as_matrix()
    activity, ct = Grid.from_spacing((20, 20, 60), (4.0, 4.0, 4.0)), Grid.from_spacing((20, 20, 20), (4.0, 4.0, 4.0))
    wide = DisplacementField.from_affine(turn, ct.extended_over(activity))
    corners = activity.corners_mm()
    np.testing.assert_allclose(wide.at(corners), corners @ turn[:3, :3].T - corners, atol=1e-4)
    assert wide.on(ct).grid.matches(ct)


def test_guided_voxels_scatter_less_around_the_same_truth(tmp_path):
    """A sphere of one half-life with Poisson-like noise: borrowing narrows the voxels, not their mean."""
    study, random = small_study((4.0, 24.0, 96.0), teff_h=60.0), np.random.default_rng(4)
    points = []
    for tp in study.timepoints:
        noise = random.normal(size=GRID.shape) * np.sqrt(tp.activity.data * 4000.0)
        points.append(
            TimePoint.of(tp.id, tp.time_h, tp.activity.with_data(tp.activity.data + noise), tp.ct, tp.structures)
        )
    noisy = Study("P", "Lu-177", study.administration, "tp1", tuple(points))
    alone = load_settings(None, ["registration.engine=none", "kinetics.model=mono", "kinetics.guided=false"])
    free = run_patient(noisy, tmp_path / "free", alone)
    guided = run_patient(noisy, tmp_path / "guided", AS_LAID)
    truth, inside = 2e5 * 60.0 / math.log(2), sphere()
    assert guided.maps.tia.data[inside].std() < 0.8 * free.maps.tia.data[inside].std()
    assert guided.maps.tia.data[inside].mean() == pytest.approx(truth, rel=0.03)
    assert set(guided.structures[0].status_percent) <= {"GUIDED", "MONO"}


def test_the_dose_engine_is_chosen_by_name_and_named_in_the_report(tmp_path):
    """By kernels some of the sphere's dose lands around it, and the report says how much leaves the field of view."""
    study = small_study()
    kernel = load_settings(None, ["registration.engine=none", "kinetics.model=mono"])  # the default engine
    by_kernel = run_patient(study, tmp_path / "kernel", kernel)
    locally = run_patient(study, tmp_path / "local", AS_LAID)
    (spread,), (kept,) = by_kernel.structures, locally.structures
    assert 0.9 < spread.dose["dose_mean_gy"] / kept.dose["dose_mean_gy"] < 1.02
    around = sphere(30.0) & ~sphere()
    assert by_kernel.maps.absorbed.dose.data[around].min() > locally.maps.absorbed.dose.data[around].max() == 0.0
    report = (tmp_path / "kernel/report.html").read_text()
    assert "convolution with kernels of water" in report
    assert "leaves the field of view" in report
    assert "agree with Monte Carlo" in report
    assert json.loads((tmp_path / "kernel/run.json").read_text())["config"]["dose"]["engine"] == "kernel"
    assert "leaves the field" not in (tmp_path / "local/report.html").read_text()


def test_small_structures_are_given_as_spheres_beside_their_voxels_on_request(tmp_path):
    """Ã times the S value of a sphere of the structure's mass; 24 mL of Lu-177 keep their electrons either way."""
    keys = ["registration.engine=none", "kinetics.model=mono", "dose.sphere_below_ml=50"]
    results = run_patient(small_study(), tmp_path / "out", load_settings(None, keys))
    (liver,), (row, *_body) = results.structures, rows(tmp_path / "out/metrics.csv")
    density = liver.mass_g / liver.volume_ml
    s_value = sphere_s_value("Lu-177", liver.mass_g, density, mass_fractions(int(tissue_of_hu(40.0))))
    assert liver.sphere_gy == pytest.approx(liver.tia_mbq_h * 3.6e9 * s_value, rel=1e-6)
    assert liver.sphere_gy == pytest.approx(liver.dose["dose_mean_gy"], rel=0.02)
    assert float(row["dose_sphere_gy"]) == pytest.approx(liver.sphere_gy, rel=1e-5)
    assert {part["dose_sphere_gy"] for part in _body} == {""}
    assert "as a sphere" in (tmp_path / "out/report.html").read_text()
    larger = run_patient(small_study(), tmp_path / "larger", load_settings(None, [*keys[:2], "dose.sphere_below_ml=5"]))
    assert math.isnan(larger.structures[0].sphere_gy)
    assert "as a sphere" not in (tmp_path / "larger/report.html").read_text()


def test_a_described_scanner_is_corrected_for_and_said_everywhere(tmp_path):
    scanner = Scanner("A", (12.0, 12.0, 12.0), calibration=Calibration(u_percent=3.0))
    results = run_patient(replace(small_study(), scanner=scanner), tmp_path / "out", AS_LAID)
    row, *_body = rows(tmp_path / "out/metrics.csv")
    assert row["recovery_method"] == "gtm"
    assert 0 < float(row["recovery"]) < 1  # the sphere of the test is sharp: it is lifted above its truth
    assert results.structures[0].tia_mbq_h > 0
    plain = run_patient(small_study(), tmp_path / "plain", AS_LAID)
    ratio = plain.structures[0].tia_mbq_h / results.structures[0].tia_mbq_h
    assert float(row["recovery"]) == pytest.approx(ratio, rel=1e-3)
    said = json.loads((tmp_path / "out/run.json").read_text())
    assert said["scanner"]["fwhm_mm"] == [12.0, 12.0, 12.0]
    assert said["recovery"]["method"] == "gtm"
    assert "geometric transfer matrix" in (tmp_path / "out/report.html").read_text()
    scan = load_volume(tmp_path / "out/registered/tp1_activity.nii.gz", Quantity.ACTIVITY)
    np.testing.assert_allclose(scan.data, small_study().reference.activity.data, rtol=1e-5)
    row, *_body = rows(tmp_path / "plain/metrics.csv")
    assert row["recovery_method"] == "none (assumed)"
    assert "12.0 to 15.0 mm" in (tmp_path / "plain/report.html").read_text()
