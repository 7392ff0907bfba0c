"""`nufitdose view`: the folder and nothing else, to this machine alone, until Ctrl-C."""

import http.client
import os
import signal
import socket
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from nufitdose.errors import InputError
from nufitdose.serving import served


@pytest.fixture
def folder(tmp_path):
    out = tmp_path / "out"
    (out / "maps").mkdir(parents=True)
    (out / "report.html").write_text("<p>report</p>", encoding="utf-8")
    (out / "maps/dose.nii.gz").write_bytes(b"\x1f\x8b dose")
    (out / ".hidden").write_text("secret")
    (tmp_path / "out_other").mkdir()
    (tmp_path / "out_other/secret.txt").write_text("secret")
    (out / "link.txt").symlink_to(tmp_path / "out_other/secret.txt")
    (out / "linked").symlink_to(tmp_path / "out_other")
    return out


def ask(address, path, method="GET", host=None):
    """The status and body of a request whose path is sent as it is."""
    place = urlsplit(address)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or place.netloc)
    connection.endheaders()
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer, body


def test_files_of_the_folder_are_served_and_the_report_first(folder):
    with served(folder) as address:
        assert urlsplit(address).hostname == "127.0.0.1"
        for path in ("/", "/report.html", urlsplit(address).path):
            answer, body = ask(address, path)
            assert (answer.status, body) == (200, b"<p>report</p>")
        assert answer.headers["Cache-Control"] == "no-store"
        answer, body = ask(address, "/maps/dose.nii.gz")
        assert (answer.status, body) == (200, b"\x1f\x8b dose")
        assert ask(address, "/report.html", "HEAD")[0].status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../out_other/secret.txt", "/%2e%2e/out_other/secret.txt", "/..%2fout_other%2fsecret.txt", "/link.txt",
        "/linked/secret.txt", "/.hidden", "//etc/passwd", "/maps/../../out_other/secret.txt", "/%00",
        "/maps/", "/maps", "/nothing", "/..\\out_other\\secret.txt", "/etc/passwd", "/report.html/",
        "/" + 400 * "x",
    ],
)  # fmt: skip
def test_nothing_else_is(folder, path):
    with served(folder) as address:
        answer, body = ask(address, path)
        assert answer.status == 404
        assert b"secret" not in body.replace(b"secret.txt", b"")


def test_other_hosts_names_and_methods_are_refused(folder):
    with served(folder) as address:
        assert ask(address, "/report.html", host="evil.example:80")[0].status == 403
        assert ask(address, "/report.html", host=f"localhost:{urlsplit(address).port}")[0].status == 200
        assert ask(address, "/report.html", "POST")[0].status == 501
        assert ask(address, "/report.html", "DELETE")[0].status == 501


def test_it_ends_with_the_block_and_wants_a_report(folder, tmp_path):
    with served(folder) as address:
        port = urlsplit(address).port
    with socket.socket() as free:
        assert free.connect_ex(("127.0.0.1", port)) != 0
    with pytest.raises(InputError, match=r"no report\.html"), served(tmp_path):
        pass


def test_ctrl_c_ends_the_command_with_130(folder):
    code = "from nufitdose.cli import main; main()"
    command = [sys.executable, "-c", code, "view", str(folder), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        address = running.stdout.readline().strip()
        assert ask(address, "/")[0].status == 200
        os.kill(running.pid, signal.SIGINT)
        _, told = running.communicate(timeout=30)
    assert running.returncode == 130
    assert "Traceback" not in told
