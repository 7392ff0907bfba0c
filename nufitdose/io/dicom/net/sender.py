"""DICOM objects sent to an archive by C-STORE (PS3.4 annex B)."""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nufitdose.errors import InputError, RunStopped
from nufitdose.io.dicom.net.listener import check_title
from nufitdose.io.dicom.net.packages import require_pynetdicom
from nufitdose.io.dicom.read.headers import Header, read_header
from nufitdose.progress import OnProgress

_MOST_CONTEXTS = 128  # of one association (PS3.8 section 9.3.2)
_SECONDS = 60.0


@dataclass(frozen=True)
class Peer:
    """Whom to send to: AE title, host and port."""

    ae_title: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Peer":
        """Of `AE@host:port`. Raises `InputError` where it is not written so."""
        match = re.fullmatch(r"([^@]+)@\[?([^@\s]+?)\]?:(\d{1,5})", text)
        if match is None or not 1 <= int(match[3]) <= 65535:
            raise InputError(f"--to {text!r} was given, AE@host:port is wanted, as ARCHIVE@10.0.0.5:104")
        check_title(match[1])
        return cls(match[1], match[2], int(match[3]))


def find_objects(place: Path) -> list[Path]:
    """The DICOM objects of a results folder (its `dicom/`), or of any other folder. Raises `InputError` without any."""
    folder = place / "dicom" if (place / "dicom").is_dir() else place
    found = sorted(path for path in folder.rglob("*.dcm") if path.is_file())
    if not found:
        raise InputError(
            "there are no DICOM objects (.dcm) here",
            where=folder,
            remedy="Name a results folder; a run writes dicom/ for DICOM studies, or with --set output.dicom=always",
        )
    return found


def send(paths: Sequence[Path], peer: Peer, *, calling: str = "NUFITDOSE", on_progress: OnProgress = print) -> int:
    """Send the objects; returns how many. Raises `InputError` on a file that is no object.

    Raises `RunStopped` where the archive cannot be reached, does not let in, or does not take all of them.
    """
    require_pynetdicom()
    from pynetdicom import AE

    check_title(calling)
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what is told is told here
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _SECONDS
    syntaxes: dict[str, set[str]] = defaultdict(set)
    for header in map(_header, paths):
        syntaxes[str(header.sop_class)].add(str(header.transfer_syntax))
    pairs = [(kind, syntax) for kind, found in sorted(syntaxes.items()) for syntax in sorted(found)]
    if len(pairs) > _MOST_CONTEXTS:
        raise InputError(f"{len(pairs)} kinds of objects were given, at most {_MOST_CONTEXTS} are sent at once")
    for kind, syntax in pairs:
        entity.add_requested_context(kind, syntax)
    refused: list[str] = []
    with associated(entity, peer) as association:
        if not association.is_established:
            why = "it did not let us in" if association.is_rejected else "it cannot be reached"
            raise RunStopped(f"{peer.ae_title} at {peer.host}:{peer.port}: {why}; nothing was sent")
        for number, path in enumerate(paths, start=1):
            if (fault := _fault(association, path)) is not None:
                refused.append(f"{path.name} ({fault})")
            on_progress(number / len(paths))
    if refused:
        raise RunStopped(
            f"{peer.ae_title} took {len(paths) - len(refused)} of {len(paths)} objects; not {'; '.join(refused[:8])}"
        )
    return len(paths)


@contextmanager
def associated(entity: Any, peer: Peer) -> Iterator[Any]:
    """An association of an application entity with a peer, established or not; released when the block ends."""
    from pynetdicom import evt

    opened: list[Any] = []
    handlers = [(evt.EVT_CONN_OPEN, lambda event: opened.append(event.assoc.dul.socket.socket))]
    association = entity.associate(peer.host, peer.port, ae_title=peer.ae_title, evt_handlers=handlers)
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        for socket in opened:  # pynetdicom leaves open what the peer closed first
            socket.close()


def _header(path: Path) -> Header:
    header = read_header(path)
    if header is None:
        raise InputError("this is no DICOM object", where=path)
    return header


def _fault(association: Any, path: Path) -> str | None:
    """Why an object was not taken; None where it was."""
    try:
        answer = association.send_c_store(path)
    except (ValueError, RuntimeError) as error:  # no context for it; the connection is gone
        return str(error)
    if "Status" not in answer:
        return "no answer"
    status = int(answer.Status)
    return None if status == 0x0000 or status >> 12 == 0xB else f"status {status:04X}"  # Bxxx: taken, with a remark
