"""Commands on archives: listen for studies, send results."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def listen(
    out: Annotated[Path, typer.Option("--out", help="Folder for the studies, one folder each.")],
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 11112,
    bind: Annotated[str, typer.Option(help="Address to listen on; others than loopback want --allow.")] = "127.0.0.1",
    ae_title: Annotated[str, typer.Option(help="AE title that senders have to call.")] = "NUFITDOSE",
    allow: Annotated[
        str | None, typer.Option(metavar="AE,AE", help="Calling AE titles that are let in; else anybody.")
    ] = None,
    quiet: Annotated[
        float, typer.Option(help="Seconds without an object until a study counts as whole.", min=0.1)
    ] = 60.0,
    most_object_mb: Annotated[int, typer.Option(help="Largest object that is taken, MB.", min=1)] = 1024,
    keep_free_gb: Annotated[float, typer.Option(help="Of the disk this much stays free, GB.", min=0.0)] = 5.0,
    most_studies: Annotated[int, typer.Option(help="Studies that may wait in --out.", min=1)] = 1000,
    most_connections: Annotated[int, typer.Option(help="Connections at once.", min=1, max=64)] = 4,
) -> None:
    """Receive DICOM studies by C-STORE into a folder; a study appears there when it is whole. Ends on Ctrl-C."""
    from threading import Event

    from nufitdose.io.dicom.net.listener import Door, read_titles, run_listener
    from nufitdose.io.dicom.net.spool import Limits, Spool

    door = Door(port, bind, ae_title, tuple(read_titles(allow)), most_connections)
    limits = Limits(most_object_mb << 20, int(keep_free_gb * (1 << 30)), most_studies)
    run_listener(out, door, Spool(out, limits, quiet_s=quiet), Event(), stream=sys.stderr)


def send(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Results folder; its dicom/ is sent.")],
    to: Annotated[str, typer.Option("--to", metavar="AE@HOST:PORT", help="The archive.")],
    calling: Annotated[str, typer.Option("--ae-title", help="AE title of this program.")] = "NUFITDOSE",
) -> None:
    """Send the DICOM objects of a results folder (dose, structures, report) to an archive by C-STORE."""
    from nufitdose.io.dicom.net.sender import Peer, find_objects
    from nufitdose.io.dicom.net.sender import send as send_objects
    from nufitdose.progress import Steps

    peer, paths = Peer.parse(to), find_objects(out)
    with Steps(1.0, sys.stderr) as steps, steps.step(f"sending to {peer.ae_title}") as on_progress:
        count = send_objects(paths, peer, calling=calling, on_progress=on_progress)
    print(f"{count} objects sent to {to}")
