"""Archives on this machine for tests: an Orthanc server and the listener, each on a free loopback port."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ORTHANC = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
WAIT_S = 60.0


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(what: Callable[[], Any], seconds: float = WAIT_S) -> Any:
    """What a function returns once it is true; fails where that takes too long."""
    ended = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < ended, f"not within {seconds} s"
        time.sleep(0.05)
    return found


@dataclass(frozen=True)
class Orthanc:
    """A running server: its ports."""

    dicom_port: int
    http_port: int

    @property
    def web(self) -> str:
        """The address of DICOMweb."""
        return f"http://127.0.0.1:{self.http_port}/dicom-web"

    def ask(self, path: str, body: bytes | None = None) -> Any:
        """An answer of the server's own interface."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.http_port}{path}", data=body, timeout=30) as answer:
            return json.loads(answer.read())

    def fill(self, folder: Path) -> None:
        """Put the objects of a folder into the archive."""
        for path in sorted(folder.rglob("*.dcm")):
            self.ask("/instances", path.read_bytes())

    def objects(self) -> list[dict[str, str]]:
        """Modality and UID of every object it holds."""
        tags = [self.ask(f"/instances/{one}/simplified-tags") for one in self.ask("/instances")]
        return [{name: one[name] for name in ("Modality", "SOPInstanceUID")} for one in tags]


@contextmanager
def orthanc(folder: Path, modalities: dict[str, tuple[str, str, int]] | None = None) -> Iterator[Orthanc]:
    """An Orthanc server; `modalities` are peers it may send to: name -> AE title, host, port."""
    if ORTHANC is None or not PLUGIN.exists():
        pytest.skip("Orthanc with its DICOMweb plugin is not installed (Debian: orthanc, orthanc-dicomweb)")
    server = Orthanc(free_port(), free_port())
    folder.mkdir(parents=True)
    settings = {
        "Name": "test", "StorageDirectory": str(folder / "store"), "IndexDirectory": str(folder / "store"),
        "HttpPort": server.http_port, "DicomPort": server.dicom_port, "DicomAet": "ORTHANC",
        "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomAlwaysAllowStore": True,
        "DicomModalities": {name: list(peer) for name, peer in (modalities or {}).items()},
        "Plugins": [str(PLUGIN)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(settings))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:

        def ready() -> bool:
            assert process.poll() is None, (folder / "log").read_text()
            try:
                return bool(server.ask("/system"))
            except OSError:
                return False

        wait_for(ready)
        yield server
    finally:
        process.terminate()
        process.wait(30)


class Listener:
    """`nufitdose listen` in a process of its own."""

    def __init__(self, out: Path, *options: str) -> None:
        code = "from nufitdose.cli import main; main()"
        command = [
            sys.executable,
            "-c",
            code,
            "listen",
            "--out",
            str(out),
            "--port",
            "0",
            "--keep-free-gb",
            "0",
            *options,
        ]
        self.out = out
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"listening on [^ ]*:(\d+) as", line)
        assert found, line + self.end()[2]
        self.port = int(found[1])

    def studies(self) -> list[Path]:
        """What has been handed over."""
        return sorted(path for path in self.out.glob("patient-*/*") if path.is_dir())

    def end(self, number: int = 15) -> tuple[int, str, str]:
        """Exit code, standard output and standard error after a signal."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out, err

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
