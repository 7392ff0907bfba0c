"""A results folder shown in the browser of this machine: read only, on the loopback address, nothing else reachable."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import BinaryIO

from nufitdose.errors import InputError

LOOPBACK = "127.0.0.1"
REPORT = "report.html"
_HEADERS = {
    "Cache-Control": "no-store",  # health data stay out of the browser's cache
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Handler(SimpleHTTPRequestHandler):
    """Files of one folder by GET and HEAD; no listings, nothing outside, no names of other hosts."""

    server_version, sys_version = "nufitdose", ""

    def send_head(self) -> BytesIO | BinaryIO | None:
        """The file asked for, if it lies in the folder and this address was asked for it."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host") not in (f"{LOOPBACK}:{port}", f"localhost:{port}"):  # a site rebinding its name
            self.send_error(HTTPStatus.FORBIDDEN)
            return None
        if self.path == "/":
            self.path = f"/{REPORT}"
        if not self._may_be_seen():
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def _may_be_seen(self) -> bool:
        """Whether the path is a file of the folder, links followed, and no part of it is hidden."""
        root = Path(self.directory).resolve()
        try:
            wanted = Path(self.translate_path(self.path)).resolve()
            parts = wanted.relative_to(root).parts
            return wanted.is_file() and not any(part.startswith(".") for part in parts)
        except (OSError, ValueError):  # outside, or a name that no file can have
            return False

    def end_headers(self) -> None:
        """What keeps pages of others away from these files."""
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a request is no news."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the report of a results folder, reachable while the block runs; the port is a free one.

    Raises `InputError` where the folder holds no report.
    """
    if not (folder / REPORT).is_file():
        raise InputError(
            f"there is no {REPORT} here",
            where=folder,
            remedy="Name the folder that 'nufitdose dosimetry --out' wrote",
        )
    with ThreadingHTTPServer((LOOPBACK, 0), partial(_Handler, directory=str(folder.resolve()))) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield f"http://{LOOPBACK}:{server.server_address[1]}/{REPORT}"
        finally:
            server.shutdown()
            thread.join()
