"""A run on study folders: its output folder, the studies read, and run.json with what went in."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nufitdose.errors import InputError
from nufitdose.io.study_folder import load_study, manifest_path, study_files
from nufitdose.run import RunRecord, collected_warnings, output_folder, write_record
from nufitdose.study import Study


def _identity(study: Study) -> dict[str, str | float | None]:
    given = study.administration
    return {
        "patient": study.patient,
        "nuclide": study.nuclide,
        "reference": study.reference_id,
        "administered_mbq": given.activity_mbq,
        "administered_at": None if given.time is None else given.time.isoformat(),
    }


@contextmanager
def study_run(
    studies: Sequence[Study | str | Path], out: str | Path, record: RunRecord
) -> Iterator[tuple[Path, tuple[Study, ...]]]:
    """The folder to write into and the studies; run.json is written when the block ends well.

    Studies are given as such or as the paths of study folders, whose files are recorded. Raises `InputError` where
    `out` lies in one of them or one cannot be read; `out` is then left as it was.
    """
    manifests = [manifest_path(study) for study in studies if not isinstance(study, Study)]
    folder = output_folder(out, kind=record.command, inputs=[m.parent for m in manifests])
    with folder as place, collected_warnings(record):
        try:
            loaded = tuple(study if isinstance(study, Study) else load_study(study) for study in studies)
            for manifest in manifests:
                record.add_inputs(study_files(manifest), manifest.parent if len(studies) == 1 else manifest.parents[1])
            record.notes |= _identity(loaded[0])
            yield place, loaded
        except InputError as error:
            where = manifests[0] if manifests else f"study {record.notes.get('patient', '')}"
            raise (error.located(where) if len(studies) == 1 else error) from error
        write_record(record, place)
