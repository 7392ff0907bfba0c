"""Studies fetched from an archive by DICOMweb (QIDO-RS and WADO-RS, PS3.18) into a folder."""

import ipaddress
import logging
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nufitdose.errors import InputError, RunStopped
from nufitdose.io.dicom.net.packages import require_dicomweb_client
from nufitdose.printable import one_line
from nufitdose.progress import OnProgress

#: What an import reads; other series are not fetched.
MODALITIES = frozenset({"CT", "PT", "NM", "RTSTRUCT", "SEG", "REG"})
_STUDY_UID, _SERIES_UID, _MODALITY = "0020000D", "0020000E", "00080060"
_UID = re.compile(r"[0-9]+(?:\.[0-9]+)+")
_MOST_STUDIES = 100
_FREE_BYTES = 2 << 30
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """Which studies: of a patient, by their UIDs, or both."""

    patient_id: str | None = None
    studies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.patient_id is None and not self.studies:
            raise InputError("no study of the archive was named", remedy="Give --patient-id, --study UID, or both")
        if self.patient_id is not None and (set(self.patient_id) & set("*?\\") or not self.patient_id.strip()):
            raise InputError(f"--patient-id {self.patient_id!r} was given, one patient is wanted, without * and ?")
        for uid in self.studies:
            if len(uid) > 64 or not _UID.fullmatch(uid):
                raise InputError(f"--study {uid!r} was given, a Study Instance UID is wanted")


def check_url(url: str) -> None:
    """Raise `InputError` where this is no address of an archive, or holds a password; warn where none can be secret."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise InputError(f"--dicomweb {url!r} was given, an address is wanted, as https://archive.example/dicom-web")
    if parts.username or parts.password:
        raise InputError(
            "the address of the archive holds a user name, which would be kept in run.json",
            remedy="Put name and password into ~/.netrc (machine HOST login NAME password WORD)",
        )
    if parts.scheme == "http" and not _is_here(parts.hostname):
        _log.warning("%s is not encrypted: patient data cross the network for everybody to read", parts.hostname)


def fetch(url: str, wanted: Wanted, folder: Path, on_progress: OnProgress) -> int:
    """Fetch the series that an import reads into `folder`, one file an object; returns how many objects.

    Raises `InputError` where the archive has none, and `RunStopped` where it cannot be reached or refuses.
    """
    require_dicomweb_client()
    import requests
    from dicomweb_client import DICOMwebClient

    check_url(url)
    logging.getLogger("dicomweb_client").setLevel(logging.CRITICAL)
    try:
        client = DICOMwebClient(url)
        client.set_http_retry_params(max_attempts=3, wait_exponential_multiplier=200)
        series = [pair for study in _studies(client, wanted) for pair in _series(client, study)]
        if not series:
            raise InputError(
                f"the archive has no series of {', '.join(sorted(MODALITIES))} for what was asked",
                where=url,
                remedy="Check --patient-id and --study",
            )
        count = 0
        for number, (study, uid) in enumerate(series, start=1):
            for dataset in client.iter_series(study, uid):
                count += 1
                _write(dataset, folder / f"{number:04d}" / f"{count:06d}.dcm")
            on_progress(number / len(series))
    except requests.RequestException as error:
        raise RunStopped(f"{url}: the archive does not answer as wanted ({one_line(str(error), most=300)})") from error
    return count


def _studies(client: Any, wanted: Wanted) -> Sequence[str]:
    if wanted.patient_id is None:
        return wanted.studies
    found = client.search_for_studies(search_filters={"PatientID": wanted.patient_id}, limit=_MOST_STUDIES + 1)
    if len(found) > _MOST_STUDIES:
        raise InputError(
            f"the archive has more than {_MOST_STUDIES} studies of this patient", remedy="Name --study UID"
        )
    uids = [_value(study, _STUDY_UID) for study in found]
    return [uid for uid in uids if not wanted.studies or uid in wanted.studies]


def _series(client: Any, study: str) -> Iterator[tuple[str, str]]:
    for found in client.search_for_series(study):
        if _value(found, _MODALITY) in MODALITIES:
            yield study, _value(found, _SERIES_UID)


def _value(answer: Mapping[str, Any], tag: str) -> str:
    """The first value of an attribute of a QIDO answer (PS3.18 annex F); empty where there is none."""
    values = answer.get(tag, {}).get("Value") or [""]
    return str(values[0])


def _write(dataset: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(path.parent).free < _FREE_BYTES:
        raise RunStopped(
            f"less than {_FREE_BYTES >> 30} GB are free on the disk of {path.parent}: nothing was imported"
        )
    dataset.save_as(path, enforce_file_format=True)


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
