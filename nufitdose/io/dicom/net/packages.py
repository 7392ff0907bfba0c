"""The packages of the extra `archive`, asked for where they are needed."""

from importlib.util import find_spec

from nufitdose.errors import InputError


def require_pynetdicom() -> None:
    """Raise `InputError` where pynetdicom is not installed."""
    _require("pynetdicom", "DICOM over the network")


def require_dicomweb_client() -> None:
    """Raise `InputError` where dicomweb-client is not installed."""
    _require("dicomweb_client", "DICOMweb")


def _require(package: str, what: str) -> None:
    if find_spec(package) is None:
        raise InputError(
            f"{what} needs the package {package.replace('_', '-')}, which is not installed",
            remedy="Install it with: pip install 'nufitdose[archive]'",
        )
