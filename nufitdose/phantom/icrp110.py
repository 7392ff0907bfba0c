"""The ICRP 110 adult reference phantom as an anatomy: its label map and its table of organs."""

import re
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.nifti import load_volume
from nufitdose.volume import Quantity, Volume

_ROW = re.compile(r"^(\d+)\s+(.+?)\s+(\d+)\s+(\d+\.\d+)\s*$")
_SKIN_OF_THE_ENDS = 141  # in the image and not in the table: skin of the first and last slice


def read_icrp110(folder: str | Path) -> tuple[Volume, dict[int, str]]:
    """The label map (`AM_organs.nii.gz`) and the name of each label (`AM_organs.dat`).

    ICRP Publication 110, Ann. ICRP 39 (2), 2009. The data are ICRP's and are not part of this program.
    """
    folder = Path(folder)
    table = folder / "AM_organs.dat"
    try:
        lines = table.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise InputError(f"the table of organs cannot be read ({error.strerror})", where=table) from error
    names = {int(row[1]): row[2].strip() for line in lines if (row := _ROW.match(line))}
    if not names:
        raise InputError("no organ was found in the table", where=table)
    labels = load_volume(folder / "AM_organs.nii.gz", Quantity.LABELS)
    return labels, names | {_SKIN_OF_THE_ENDS: "Skin, ends"}
