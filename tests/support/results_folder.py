"""A results folder of results in memory, as the patient run writes it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dosimetry.findings.file import save_findings
from dosimetry.findings.gather import gather_findings
from dosimetry.output.images import write_maps
from dosimetry.output.tables import write_tables
from dosimetry.report import write_pictures
from dosimetry.results import PatientResults
from nufitdose.registration.output import write_registered
from nufitdose.run import RunRecord, write_record


def write_results(results: PatientResults, record: RunRecord, folder: Path) -> None:
    """Everything but report.html."""
    write_tables(results, folder)
    write_maps(results, folder)
    write_registered(results.study.reference, results.study.timepoints, results.frames, folder)
    write_pictures(results, folder)
    save_findings(gather_findings(results), folder)
    write_record(record, folder)


def page_data(page: str, name: str) -> Mapping[str, Any]:
    """The JSON of the script element with this id."""
    start = page.index(f'id="{name}">') + len(name) + 6
    return json.loads(page[start : page.index("</script>", start)])
