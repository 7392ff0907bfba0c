"""A DICOM storage listener (C-STORE and C-ECHO SCP, PS3.4 annexes B and A) that fills a spool and does nothing else."""

import ipaddress
import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nufitdose.errors import InputError
from nufitdose.io.dicom.net.packages import require_pynetdicom
from nufitdose.io.dicom.net.spool import RefusedError, Spool
from nufitdose.printable import one_line
from nufitdose.progress import Stream

if TYPE_CHECKING:
    from threading import Event

_SUCCESS = 0x0000
_MOST_PDU_BYTES = 1 << 18  # what a sender is asked to keep to
_MOST_READ_BYTES = 1 << 20  # what is read of one PDU, whatever length it states
_WAITING = 8  # connections that have not said who they are, beside those at work


@dataclass(frozen=True)
class Door:
    """Where to listen, under which AE title, to whom (`allow`: calling AE titles; none: anybody), how many at once."""

    port: int = 11112
    bind: str = "127.0.0.1"
    ae_title: str = "NUFITDOSE"
    allow: tuple[str, ...] = ()
    most_connections: int = 4

    def __post_init__(self) -> None:
        for title in (self.ae_title, *self.allow):
            check_title(title)
        try:
            loopback = ipaddress.ip_address(self.bind).is_loopback
        except ValueError as error:
            raise InputError(f"--bind {self.bind!r} was given, an IP address of this machine is wanted") from error
        if not loopback and not self.allow:
            raise InputError(
                f"--bind {self.bind} can be reached from other machines and no calling AE title is named",
                remedy="Name those that may send with --allow AE,AE",
            )


def check_title(title: str) -> None:
    """Raise `InputError` where this is no AE title (PS3.5 section 6.2: 1 to 16 characters, no backslash)."""
    if not (1 <= len(title) <= 16 and title.isascii() and title.isprintable() and "\\" not in title and title.strip()):
        raise InputError(f"the AE title {title!r} was given, 1 to 16 plain characters are wanted")


class _Hall:
    """What the events of connections lead to: they come on threads of their own."""

    def __init__(self, spool: Spool, door: Door, stream: Stream | None) -> None:
        self._spool, self._door, self._stream = spool, door, stream
        self._unanswered: dict[int, int] = {}  # bytes that a connection sent and no answer went out for

    def open(self, event: Any) -> None:
        """A connection, before anything is read of it: no length that it states is believed."""
        socket = event.assoc.dul.socket
        if len(event.assoc.ae.active_associations) >= self._door.most_connections + _WAITING:
            socket.socket.close()
            return
        read = socket.recv

        def read_little(count: int) -> bytearray:
            if count > _MOST_READ_BYTES:
                raise OSError(f"a PDU of {count} bytes")
            return bytearray(read(count))

        socket.recv = read_little

    def count(self, event: Any) -> None:
        """Data came: more than the largest object without waiting for an answer ends the connection."""
        connection = id(event.assoc)
        self._unanswered[connection] = self._unanswered.get(connection, 0) + len(event.data)
        if self._unanswered[connection] > self._spool.limits.most_object_bytes + _MOST_READ_BYTES:
            self._unanswered[connection] = 0
            self._tell(event, f"refused: an object of more than {self._spool.limits.most_object_bytes >> 20} MB")
            event.assoc.abort(block=False)

    def store(self, event: Any) -> int:
        """A C-STORE request: success once the object is on the disk."""
        from pynetdicom.dsutils import encode_file_meta

        connection = id(event.assoc)
        try:
            meta = event.file_meta
            parts = (b"\0" * 128 + b"DICM", encode_file_meta(meta), event.encoded_dataset(include_meta=False))
            self._spool.take(connection, parts)
        except RefusedError as refused:
            self._tell(event, f"refused: {refused}")
            return refused.status
        finally:
            self._unanswered[connection] = 0
        return _SUCCESS

    def close(self, event: Any) -> None:
        """A connection is gone, in whatever way."""
        self._unanswered.pop(id(event.assoc), None)
        self._spool.leave(id(event.assoc))

    def reject(self, event: Any) -> None:
        """Somebody was not let in."""
        self._tell(event, "not let in")

    def _tell(self, event: Any, text: str) -> None:
        if self._stream is not None:
            who = one_line(str(event.assoc.requestor.ae_title or "nobody"), most=16)
            print(f"{who} at {event.assoc.requestor.address}: {text}", file=self._stream, flush=True)


@contextmanager
def listening(spool: Spool, door: Door, *, stream: Stream | None = None) -> Iterator[int]:
    """Listen while the block runs; yields the port. The spool is to be `owned`.

    Raises `InputError` where the address cannot be had.
    """
    require_pynetdicom()
    from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
    from pynetdicom.sop_class import Verification

    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # what is told is told here
    entity = AE(door.ae_title)
    entity.require_called_aet = True
    entity.require_calling_aet = list(door.allow)
    entity.maximum_associations = door.most_connections
    entity.maximum_pdu_size = _MOST_PDU_BYTES
    entity.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
    hall = _Hall(spool, door, stream)
    handlers: list[Any] = [
        (evt.EVT_CONN_OPEN, hall.open),
        (evt.EVT_DATA_RECV, hall.count),
        (evt.EVT_C_STORE, hall.store),
        (evt.EVT_CONN_CLOSE, hall.close),
        (evt.EVT_REJECTED, hall.reject),
    ]
    try:
        server = entity.start_server((door.bind, door.port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise InputError(
            f"{door.bind}:{door.port} cannot be listened on ({error.strerror})",
            remedy="Choose another --port or --bind",
        ) from error
    assert server is not None
    try:
        yield int(server.server_address[1])
    finally:
        entity.shutdown()


def run_listener(
    folder: Path, door: Door, spool: Spool, stopped: "Event", *, stream: Stream | None = None, out: Any = sys.stdout
) -> None:
    """Listen, and hand over studies as they become whole, until `stopped` is set or the process is told to end."""
    with spool.owned(), listening(spool, door, stream=stream) as port:
        allowed = ", ".join(door.allow) or "anybody on this machine"
        print(f"listening on {door.bind}:{port} as {door.ae_title}, to {allowed}; {folder}", file=out, flush=True)
        while not stopped.wait(min(1.0, max(0.05, spool.quiet_s / 4))):
            for place in spool.hand_over():
                count = sum(1 for _ in place.iterdir())
                print(f"study: {place} ({count} objects)", file=out, flush=True)


def read_titles(text: str | None) -> Sequence[str]:
    """AE titles with commas between them."""
    return tuple(title.strip() for title in text.split(",")) if text else ()
