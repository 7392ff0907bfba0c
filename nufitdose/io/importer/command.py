"""The import as a user sees it: plan, table, and the study folder written whole or not at all."""

from pathlib import Path

from nufitdose.io.importer.planning import ImportOptions, plan_import, write_study
from nufitdose.progress import Steps, Stream
from nufitdose.run import RunRecord, collected_warnings, output_folder, write_record
from nufitdose.text import text_table


def run_import(dicom: Path, out: Path | None, options: ImportOptions, *, stream: Stream | None = None) -> str:
    """Import a folder of DICOM files into `out`, or only say what would be done where `out` is None.

    Returns the text to show. Raises `InputError` when the series do not make a study.
    """
    record = RunRecord("import", options.to_dict())
    with Steps(10.0, stream) as steps, collected_warnings(record):
        with steps.step(f"reading DICOM headers in {dicom}", 3.0) as tell:
            plan = plan_import(dicom, options, on_progress=tell)
        table = text_table(plan.columns, plan.rows())
        if out is None:
            return _joined(table, record.warnings, [f"refused: {plan.refusal}"] if plan.refusal else [])
        if plan.refusal is not None:
            print(table, file=stream)
            raise plan.refusal
        with output_folder(out, inputs=[dicom]) as place:
            with steps.step("writing the study folder", 7.0):
                manifest = write_study(plan, place)
            record.add_inputs(plan.files(), dicom)
            record.timings_s = steps.seconds
            record.notes |= {"import": plan.record()}
            write_record(record, place)
    return _joined(table, record.warnings, [f"study: {out / manifest.name}"])


def _joined(table: str, warnings: list[str], last: list[str]) -> str:
    return "\n".join([table, *(f"warning: {warning}" for warning in warnings), *last])
