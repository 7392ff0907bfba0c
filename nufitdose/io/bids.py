"""A subject of a BIDS-like tree, read as a study: `sub-*/ses-*/{ct,nm|pet}/*.nii.gz` with a JSON file beside each scan.

One subject is one study of one administration. The keys are those of BIDS for PET (doi:10.1038/s41597-022-01164-1),
for SPECT too; `HoursAfterAdministration`, which BIDS does not know, says what the times of a sidecar do not where they
do not reach from session to session.
"""

from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import ConfigDict, Field

from nufitdose.config import Settings, build
from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume
from nufitdose.json_file import read_json
from nufitdose.nuclides import canonical_name, half_life_h
from nufitdose.study import Administration, Study, TimePoint
from nufitdose.volume import Quantity, Volume

_MOST_HALF_LIVES = 50
_BQ_PER_ML = {"Bq/mL": 1.0, "kBq/mL": 1e3, "MBq/mL": 1e6}


class Sidecar(Settings):
    """What the JSON file beside an activity image must say; other keys are allowed. Times are in s after `TimeZero`."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    Units: Literal["Bq/mL", "kBq/mL", "MBq/mL"]
    TracerRadionuclide: str
    InjectedRadioactivity: float = Field(gt=0)
    InjectedRadioactivityUnits: Literal["MBq"]
    ImageDecayCorrected: bool
    ImageDecayCorrectionTime: float | None = None
    ScanStart: float | None = None
    InjectionStart: float | None = None
    HoursAfterAdministration: float | None = None

    def hours(self) -> float:
        """Hours from administration to scan."""
        if self.HoursAfterAdministration is not None:
            return self.HoursAfterAdministration
        if self.ScanStart is None or self.InjectionStart is None:
            raise InputError(
                "the time of the scan after administration is not given",
                remedy="Add 'HoursAfterAdministration', or 'ScanStart' and 'InjectionStart' on one clock",
            )
        return (self.ScanStart - self.InjectionStart) / 3600.0

    def bq_per_ml(self) -> float:
        """Factor from the voxels to Bq/mL at the start of the scan, `2^(-(t_scan - t_corrected)/T)` included."""
        if not self.ImageDecayCorrected:
            return _BQ_PER_ML[self.Units]
        if self.ScanStart is None or self.ImageDecayCorrectionTime is None:
            raise InputError("the image is corrected for decay; 'ScanStart' and 'ImageDecayCorrectionTime' are wanted")
        since_h = (self.ScanStart - self.ImageDecayCorrectionTime) / 3600.0
        decays = since_h / half_life_h(self.TracerRadionuclide)
        if not abs(decays) <= _MOST_HALF_LIVES:
            raise InputError(
                f"'ImageDecayCorrectionTime' lies {decays:.3g} half-lives before 'ScanStart', at most "
                f"{_MOST_HALF_LIVES} are taken",
                remedy="Give both in seconds on one clock",
            )
        return float(_BQ_PER_ML[self.Units] * 2.0**-decays)


def load_subject(folder: Path) -> tuple[Study, list[Path]]:
    """The study of a folder `sub-*` and the files it is made of; the first session is the reference.

    Raises `InputError` where an image, unit, nuclide, activity or time is missing, given twice or contradictory.
    """
    points, given, files = [], [], []
    for session in sorted(path for path in folder.glob("ses-*") if path.is_dir()):
        image = _only([*session.glob("nm/*.nii.gz"), *session.glob("pet/*.nii.gz")], session, "activity in nm/ or pet/")
        cts = list(session.glob("ct/*.nii.gz"))
        ct = _only(cts, session, "CT in ct/") if cts else None
        path = image.with_name(image.name.removesuffix(".nii.gz") + ".json")
        sidecar = build(Sidecar, read_json(path, "the sidecar of an activity image cannot be read"), where=path)
        try:
            read = partial(_activity, image, sidecar.bq_per_ml())
            read_ct = None if ct is None else partial(load_volume, ct, Quantity.HU)
            points.append(TimePoint(session.name, sidecar.hours(), read, read_ct))
            given.append((canonical_name(sidecar.TracerRadionuclide), sidecar.InjectedRadioactivity))
        except InputError as error:
            raise error.located(path) from error
        files += [path, image, *([] if ct is None else [ct])]
    if not points:
        raise InputError("there is no session 'ses-*'", where=folder)
    if len(set(given)) > 1:
        raise InputError(
            f"the sessions tell of several administrations: {sorted(set(given))}",
            where=folder,
            remedy="Make each administration a subject, or a study folder of its own",
        )
    nuclide, mbq = given[0]
    try:
        return Study(folder.name, nuclide, Administration(mbq), points[0].id, tuple(points)), files
    except InputError as error:
        raise error.located(folder) from error


def _activity(image: Path, factor: float) -> Volume:
    volume = load_volume(image, Quantity.ACTIVITY)
    return volume.with_data(volume.data * factor)


def _only(found: list[Path], session: Path, what: str) -> Path:
    if len(found) != 1:
        raise InputError(f"{len(found)} images of {what} were found, one is wanted", where=session)
    return found[0]
