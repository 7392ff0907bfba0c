"""Every reader of files from outside with a small sound input, and the judge of what it makes of a damaged one."""

import hashlib
import json
import random
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.printable import is_printable
from nufitdose.study import Structures, Study
from nufitdose.volume import Quantity, Volume
from support.damage import spoil_bytes, spoil_dicom, spoil_json, spoil_yaml
from support.dicom_files import ct, nm, pet, rtstruct, stored_values, write
from support.small_study import small_study, small_study_folder

Spoil = Callable[[bytes, random.Random], bytes]
MOST_SECONDS = 20
_VALUES = stored_values(shape=(4, 5, 4))
_GRID = Grid((4, 5, 6), np.diag([2.0, 3.0, 4.0, 1.0]))


@dataclass(frozen=True)
class Reader:
    """`make` writes a sound input into a folder; `read` returns what it says as plain values and arrays.

    `damage`: the files that may be damaged, and how.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    damage: tuple[tuple[str, Spoil], ...]

    def spoil(self, folder: Path, seed: int) -> Path:
        """Damage one file of the input; returns which."""
        chance = random.Random(seed)
        pattern, how = chance.choice(self.damage)
        path = chance.choice(sorted(folder.glob(pattern)))
        path.write_bytes(how(path.read_bytes(), chance))
        return path


@dataclass(frozen=True)
class Verdict:
    """What a reader made of an input: the error it ended in, or what it read."""

    refusal: InputError | None
    result: object = None


def judge(reader: Reader, folder: Path) -> Verdict:
    """Read the input in time; whatever is wrong with the answer fails.

    A refusal is short, printable and names a file; a result holds finite numbers alone, and no file is
    made or changed.
    """
    before = _contents(folder)
    with time_limit(MOST_SECONDS), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            verdict = Verdict(None, reader.read(folder))
        except InputError as error:
            verdict = Verdict(error)
    assert _contents(folder) == before, "reading wrote something"
    if verdict.refusal is None:
        _check_finite(verdict.result)
        return verdict
    told = str(verdict.refusal)
    assert len(told) < 4000, told
    assert all(is_printable(line.replace("\t", "")) for line in told.split("\n")), ascii(told)
    assert verdict.refusal.where or str(folder) in told, f"no file is named: {told}"
    return verdict


def same(a: object, b: object) -> bool:
    """Whether two results are equal, numbers within 1e-6 of each other."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-6))
    return a == b


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise `TimeoutError` where the block takes longer; in the main thread alone."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.parent.rglob("*") if path.is_file()}


def _check_finite(result: Any) -> None:
    if isinstance(result, np.ndarray):
        assert result.size < 1e6, f"{result.shape} from a file of a few kB"
        assert np.isfinite(result).all()
    elif isinstance(result, dict):
        _check_finite(list(result.values()))
    elif isinstance(result, list | tuple):
        for value in result:
            _check_finite(value)
    elif isinstance(result, float):
        assert np.isfinite(result)


def study_values(study: Study) -> list[Any]:
    """What a study says, images read."""
    administration = study.administration
    return [
        (study.patient, study.nuclide, study.reference_id, administration.activity_mbq, str(administration.time)),
        *(
            (tp.id, tp.time_h, _values(tp.activity), _values(tp.ct), _drawn(tp.structures), tp.slice_offsets_h)
            for tp in study.timepoints
        ),
    ]


def _values(volume: Volume | None) -> object:
    return None if volume is None else (volume.data, volume.grid.affine)


def _drawn(structures: Structures | None) -> object:
    if structures is None:
        return None
    return [[_values(layer) for layer in structures.layers], dict(structures.names), sorted(structures.tumours)]


def _manifest() -> Reader:
    from nufitdose.io.study_folder import load_study

    def make(folder: Path) -> None:
        small_study_folder(folder, hours=(4.0, 24.0))

    return Reader(
        make,
        lambda folder: study_values(load_study(folder)),
        (("study.yaml", spoil_yaml),) * 5 + (("study.yaml", spoil_bytes),),
    )


def _image(name: str, quantity: Quantity) -> Reader:
    from nufitdose.io.nifti import load_volume, save_volume

    def make(folder: Path) -> None:
        data = np.random.default_rng(4).integers(0, 4, _GRID.shape)
        volume = Volume(data.astype(np.int16 if quantity is Quantity.LABELS else np.float32), _GRID, quantity)
        if not name.endswith((".mha", ".nrrd")):
            save_volume(volume, folder / name)
            return
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(volume.data.transpose(2, 1, 0))
        image.SetSpacing((2.0, 3.0, 4.0))
        sitk.WriteImage(image, str(folder / name))

    return Reader(make, lambda folder: _values(load_volume(folder / name, quantity)), ((name, spoil_bytes),))


def _field() -> Reader:
    from nufitdose.io.field_file import load_field, save_field

    def make(folder: Path) -> None:
        field = np.random.default_rng(5).normal(size=(3, *_GRID.shape)).astype(np.float32)
        save_field([field], _GRID, folder / "u.nii")

    def read(folder: Path) -> object:
        field, grid = load_field(folder / "u.nii")
        return field, grid.affine

    return Reader(make, read, (("u.nii", spoil_bytes),))


def _dicom(make: Callable[[Path], object], pattern: str) -> Reader:
    from nufitdose.io.importer import ImportOptions, plan_import

    def read(folder: Path) -> object:
        return study_values(plan_import(folder, ImportOptions(calibration_bq_per_ml_per_count=1.0)).study)

    return Reader(make, read, ((pattern, spoil_dicom), (pattern, spoil_dicom), (pattern, spoil_bytes)))


def _scans(folder: Path) -> list[Path]:
    return write(folder, [*pet(values=_VALUES), *ct(values=_VALUES % 2048)])


def _with_contours(folder: Path) -> None:
    _scans(folder)
    write(folder, [rtstruct(ct(values=_VALUES % 2048))])


def _with_segments(folder: Path) -> None:
    import highdicom
    import pydicom
    from pydicom.sr.codedict import codes

    _scans(folder)
    images = [pydicom.dcmread(path) for path in sorted(folder.glob("CT_*.dcm"))]
    for image in images:
        image.PatientSex = image.AccessionNumber = image.ReferringPhysicianName = ""
    drawn = highdicom.seg.SegmentDescription(
        1, "liver", codes.SCT.Organ, codes.SCT.Liver, highdicom.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        highdicom.seg.Segmentation(
            source_images=images,
            pixel_array=np.random.default_rng(6).random((*_VALUES.shape, 1)) < 0.5,
            segmentation_type="BINARY",
            segment_descriptions=[drawn],
            series_instance_uid="1.2.3.4",
            series_number=9,
            sop_instance_uid="1.2.3.5",
            instance_number=1,
            manufacturer="test",
            manufacturer_model_name="test",
            software_versions="1",
            device_serial_number="1",
        ).save_as(folder / "SEG_000.dcm")


def _rtdose() -> Reader:
    from nufitdose.io.dicom.read.rtdose import load_rtdose
    from nufitdose.io.dicom.write.rtdose import write_rtdose

    def make(folder: Path) -> None:
        dose = Volume(np.random.default_rng(7).random(_GRID.shape, np.float32), _GRID, Quantity.DOSE)
        write_rtdose(
            dose, {"PatientID": "P", "StudyInstanceUID": "1.2", "FrameOfReferenceUID": "1.3"}, folder / "d.dcm"
        )

    return Reader(
        make, lambda folder: _values(load_rtdose(folder / "d.dcm")), (("d.dcm", spoil_dicom), ("d.dcm", spoil_bytes))
    )


def _card() -> Reader:
    from nufitdose.information import weights_facts
    from nufitdose.registration.network.weights import SHIPPED, load_weights

    def make(folder: Path) -> None:
        (folder / "w.safetensors").symlink_to(SHIPPED)
        (folder / "w.json").write_bytes(SHIPPED.with_suffix(".json").read_bytes())
        load_weights(SHIPPED)  # loads the network's libraries, whose time is nobody's

    def read(folder: Path) -> object:
        weights_facts(folder / "w.safetensors")
        model = load_weights(folder / "w.safetensors")
        return [float(p.detach().double().sum()) for p in model.parameters()]

    return Reader(make, read, (("w.json", spoil_json), ("w.json", spoil_json), ("w.json", spoil_bytes)))


def _weights() -> Reader:
    """The weights themselves, with a card that vouches for the damaged ones."""
    from nufitdose.registration.network.weights import SHIPPED, load_weights

    def make(folder: Path) -> None:
        (folder / "w.safetensors").write_bytes(SHIPPED.read_bytes())
        (folder / "w.json").write_bytes(SHIPPED.with_suffix(".json").read_bytes())
        load_weights(SHIPPED)  # as above

    def read(folder: Path) -> object:
        content = (folder / "w.safetensors").read_bytes()
        card = json.loads((folder / "w.json").read_text()) | {"sha256": hashlib.sha256(content).hexdigest()}
        with tempfile.TemporaryDirectory() as aside:
            (Path(aside) / "w.json").write_text(json.dumps(card))
            (Path(aside) / "w.safetensors").symlink_to(folder / "w.safetensors")
            try:
                return [float(p.detach().double().sum()) for p in load_weights(f"{aside}/w.safetensors").parameters()]
            except InputError as error:
                raise InputError(error.problem, where=folder) from error

    def spoil_header(content: bytes, chance: random.Random) -> bytes:
        start = 8 + int.from_bytes(content[:8], "little")
        return spoil_bytes(content[:start], chance) + content[start:]

    return Reader(make, read, (("w.safetensors", spoil_header),))


def _settings() -> Reader:
    from dosimetry.config import DosimetrySettings, load_settings
    from nufitdose.commented_settings import commented_yaml

    def make(folder: Path) -> None:
        (folder / "c.yaml").write_text(commented_yaml(DosimetrySettings), encoding="utf-8")

    return Reader(make, lambda folder: load_settings(folder / "c.yaml").model_dump(), (("c.yaml", spoil_yaml),))


def _scanner() -> Reader:
    from nufitdose.io.study_folder import read_scanner, write_scanner
    from nufitdose.scanner import Calibration, RecoveryCurve, ResolutionAtDepth, Scanner

    known = Scanner(
        "S",
        (12.0, 12.0, 11.0),
        RecoveryCurve(4.0, 0.9, ((0.04, -0.002), (-0.002, 0.0009))),
        Calibration(factor=1.05, u_percent=3.0),
        (ResolutionAtDepth(20.0, (10.0, 10.0, 10.0)), ResolutionAtDepth(110.0, (12.5, 12.5, 11.5))),
    )

    def read(folder: Path) -> object:
        found = read_scanner(folder / "s.yaml")
        curve, factor = found.recovery, found.calibration
        return (
            found.name,
            found.fwhm_mm,
            found.by_depth,
            curve and (curve.beta1_ml, curve.beta2),
            factor and (factor.factor, factor.u_percent),
        )

    return Reader(lambda folder: write_scanner(known, folder / "s.yaml"), read, (("s.yaml", spoil_yaml),))


def _cohort() -> Reader:
    from nufitdose.io.cohort_folder import load_cohort

    text = "settings: {a: 1}\npatients:\n  a:\n    seed: 3\n    split: train\n  b:\n    split: test\n"

    def make(folder: Path) -> None:
        for name, hour in (("a", 4.0), ("b", 8.0)):
            small_study_folder(folder / name, hours=(hour,), ct=False, structures=False)
            manifest = folder / name / "study.yaml"
            manifest.write_text(manifest.read_text().replace("P7", name))
        (folder / "cohort.yaml").write_text(text)

    damage = (("cohort.yaml", spoil_yaml), ("cohort.yaml", spoil_yaml), ("a/study.yaml", spoil_yaml))
    return Reader(make, lambda folder: load_cohort(folder).digests(), damage)


def _facts() -> Reader:
    from nufitdose.io.importer.options import gather_options

    text = "nuclide: Lu-177\nadministered_mbq: 7400.0\nadministered_at: '2024-01-01T09:00:00'\nseries:\n  '3':\n"
    text += "    hours: 24.0\n    calibration: 9.5\n    utc_offset: '+01:00'\n    slice_step_mm: 4.0\n"

    def read(folder: Path) -> object:
        return gather_options(folder / "f.yaml", ()).to_dict()

    return Reader(lambda folder: (folder / "f.yaml").write_text(text), read, (("f.yaml", spoil_yaml),))


def _subject() -> Reader:
    from nufitdose.io.bids import load_subject
    from nufitdose.io.nifti import save_volume

    says = {"Units": "kBq/mL", "TracerRadionuclide": "Lu177", "ImageDecayCorrected": True}
    says |= {"InjectedRadioactivity": 7400.0, "InjectedRadioactivityUnits": "MBq"}
    says |= {"ImageDecayCorrectionTime": 0.0, "ScanStart": 14400.0, "InjectionStart": 0.0}

    def make(folder: Path) -> None:
        (folder / "ses-01/nm").mkdir(parents=True)
        save_volume(small_study((4.0,)).timepoints[0].activity, folder / "ses-01/nm/a.nii.gz")
        (folder / "ses-01/nm/a.json").write_text(json.dumps(says))

    def read(folder: Path) -> object:
        return study_values(load_subject(folder)[0])

    return Reader(make, read, (("ses-01/nm/a.json", spoil_json), ("ses-01/nm/a.json", spoil_bytes)))


def _record() -> Reader:
    from nufitdose.information import results_facts

    def make(folder: Path) -> None:
        record = {"command": "dosimetry", "status": "ok", "versions": {"a": "1"}, "inputs": [{"path": "a"}]}
        record |= {"timings_s": {"a": 1.0}, "files": ["metrics.csv"], "warnings": ["w"], "config": {}}
        (folder / "run.json").write_text(json.dumps(record))
        (folder / "metrics.csv").write_text("structure,role,volume_ml\nliver,organ,1500\n")

    return Reader(
        make, results_facts, (("run.json", spoil_json), ("run.json", spoil_bytes), ("metrics.csv", spoil_bytes))
    )


def _truth() -> Reader:
    from nufitdose.io.truth import read_landmarks

    def make(folder: Path) -> None:
        (folder / "truth").mkdir()
        rows = [
            "structure,timepoint,moving_x_mm,moving_y_mm,moving_z_mm",
            *(f"liver,tp{n},{n}.0,2.0,3.0" for n in (1, 2)),
        ]
        (folder / "truth/landmarks.csv").write_text("\n".join(rows))

    def read(folder: Path) -> object:
        found = read_landmarks(folder)
        assert found is not None
        return dict(found.points), found.structures

    return Reader(make, read, (("truth/landmarks.csv", spoil_bytes),))


#: Name -> how to make its reader; the packages that it needs are imported then.
READERS: dict[str, Callable[[], Reader]] = {
    "manifest": _manifest,
    "nifti": lambda: _image("a.nii", Quantity.ACTIVITY),
    "nifti packed": lambda: _image("a.nii.gz", Quantity.HU),
    "labels": lambda: _image("l.nii", Quantity.LABELS),
    "metaimage": lambda: _image("a.mha", Quantity.ACTIVITY),
    "nrrd": lambda: _image("a.nrrd", Quantity.ACTIVITY),
    "field": _field,
    "ct": lambda: _dicom(_scans, "CT_*.dcm"),
    "pt": lambda: _dicom(_scans, "PT_*.dcm"),
    "nm": lambda: _dicom(lambda folder: write(folder, [nm(values=_VALUES)]), "NM_*.dcm"),
    "rtstruct": lambda: _dicom(_with_contours, "RTSTRUCT_*.dcm"),
    "seg": lambda: _dicom(_with_segments, "SEG_*.dcm"),
    "rtdose": _rtdose,
    "card": _card,
    "weights": _weights,
    "settings": _settings,
    "scanner": _scanner,
    "cohort": _cohort,
    "facts": _facts,
    "subject": _subject,
    "record": _record,
    "landmarks": _truth,
}
