"""Series on their way into a study: what each is, what is read of it, and what becomes of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from nufitdose.errors import InputError
from nufitdose.io.dicom.read.activity import ActivityScan, activity_scan
from nufitdose.io.dicom.read.decay import Undone
from nufitdose.io.dicom.read.given import Given
from nufitdose.io.dicom.read.images import ImageSeries
from nufitdose.io.dicom.read.series import Gathered, Kind
from nufitdose.io.importer.match import Drawn
from nufitdose.io.importer.options import ImportOptions


@dataclass(eq=False)
class Candidate:
    """A series on its way into the study; `use` says what becomes of it, in words."""

    gathered: Gathered
    given: Given
    refusal: InputError | None = None
    use: str = ""
    scan: ActivityScan | None = None
    undone: Undone | None = None
    hours: float | None = None
    total_mbq: float | None = None
    units: str = ""
    structures: tuple[tuple[str, str, float], ...] = ()  # name, role, mL
    beds: list[ActivityScan] = field(default_factory=list)  # where they were joined
    bed_slices: list[tuple[int, int]] = field(default_factory=list)  # bed and slice of each slice of the whole

    @property
    def open(self) -> bool:
        """Whether nothing was decided yet."""
        return self.refusal is None and not self.use

    @property
    def name(self) -> str:
        """How messages call it."""
        description = self.gathered.headers[0].text("SeriesDescription") or self.gathered.headers[0].modality
        return f"series {self.gathered.number} ({description!r})"

    def refuse(self, refusal: InputError) -> None:
        """It cannot be used, and would have been needed."""
        self.refusal, self.use = refusal, f"refused: {refusal.problem}"

    def leave_out(self, why: str) -> None:
        """It is not needed."""
        self.refusal, self.use = None, f"skipped: {why}"

    def activity(self) -> ActivityScan:
        """Its scan, once it was read."""
        assert self.scan is not None
        return self.scan


@dataclass(eq=False)
class Place:
    """A time point being put together."""

    id: str
    candidate: Candidate
    ct: ImageSeries | None = None
    structures: list[Drawn] = field(default_factory=list)


@contextmanager
def noting(problems: list[InputError]) -> Iterator[None]:
    """An `InputError` of the block goes to `problems`."""
    try:
        yield
    except InputError as problem:
        problems.append(problem)


def candidate_of(gathered: Gathered, given: Given) -> Candidate:
    """A gathered series, as yet undecided unless it was passed over or refused on the way."""
    candidate = Candidate(gathered, given, use=f"skipped: {gathered.skipped}" if gathered.skipped else "")
    candidate.units = "HU" if gathered.kind is Kind.CT else ""
    if gathered.refusal:
        candidate.refuse(gathered.refusal)
    return candidate


def take_asked_for(candidates: Sequence[Candidate], options: ImportOptions) -> None:
    """Leave out what `--series` does not name, among the kinds of series it names."""
    options.check_names(frozenset().union(*(c.gathered.uids for c in candidates)))
    named = {c.gathered.kind for c in candidates if not c.gathered.uids.isdisjoint(options.series)}
    for candidate in candidates:
        if candidate.gathered.kind in named and candidate.gathered.uids.isdisjoint(options.series):
            candidate.leave_out("not among the series asked for")


def read_scans(candidates: Sequence[Candidate], administered: datetime | None) -> list[Candidate]:
    """The activity series that can be read; the others are refused. Hours given count from `administered`."""
    scans = []
    for candidate in candidates:
        series = candidate.gathered.series
        if not candidate.open or candidate.gathered.kind is not Kind.ACTIVITY or series is None:
            continue
        candidate.units = series.header.text("Units") or "counts"
        try:
            candidate.scan = activity_scan(series, candidate.given, administered)
            candidate.units = candidate.scan.units
            scans.append(candidate)
        except InputError as refusal:
            candidate.refuse(refusal)
    return scans


def in_order(scans: Sequence[Candidate], key: Callable[[Candidate], datetime] | None = None) -> list[Candidate]:
    """In order of time, where all times can be compared."""
    moment = key or (lambda candidate: candidate.activity().timing.started)
    if len({moment(c).tzinfo is None for c in scans}) != 1:
        return list(scans)
    return sorted(scans, key=moment)
