"""How each voxel or structure was fitted: the codes of maps/fit_model.nii.gz and what they mean."""

from collections.abc import Mapping
from enum import IntEnum


class FitStatus(IntEnum):
    """The rule that gave a time-integrated activity; stored as uint8, so the numbers never change their meaning."""

    NOTHING = 0
    MONO = 1
    MONO_AT_PHYSICAL = 2
    MONO_AT_FASTEST = 3
    ONE_POINT = 4
    RISING = 5
    NOT_POSITIVE = 6
    BI = 7
    UPTAKE_CLEARANCE = 8
    CLEARANCE_RETENTION = 9
    TRI = 10
    GUIDED = 11
    SLOW = 12
    TRAPEZOID = 13
    POPULATION = 14
    HAENSCHEID = 15
    GUIDED_TWO_RATES = 16

    @property
    def meaning(self) -> str:
        """What the code means, for the report and the documentation."""
        return MEANING[self]


MEANING: Mapping[FitStatus, str] = {
    FitStatus.NOTHING: "no measured value, or all values zero: TIA 0",
    FitStatus.MONO: "one exponential, effective half-life within its bounds",
    FitStatus.MONO_AT_PHYSICAL: "one exponential held at the physical half-life (the data decay more slowly)",
    FitStatus.MONO_AT_FASTEST: "one exponential held at the shortest half-life that the times can resolve",
    FitStatus.ONE_POINT: "one measured value: physical decay through it",
    FitStatus.RISING: "activity rises or stays: linear from zero, trapezoids, physical decay after the last point",
    FitStatus.SLOW: "falls at less than half the rate of physical decay: codes 2 and 5 mixed by the slope",
    FitStatus.NOT_POSITIVE: "values whose best amplitude is not positive: TIA 0",
    FitStatus.BI: "two exponentials, both clearing (f4a)",
    FitStatus.UPTAKE_CLEARANCE: "uptake and clearance from zero at administration (f3)",
    FitStatus.CLEARANCE_RETENTION: "one clearing exponential and a retained part with physical decay (f3a)",
    FitStatus.TRI: "uptake from zero and two clearing exponentials",
    FitStatus.GUIDED: "one exponential, its rate drawn towards that of the structure as far as the noise asks for",
    FitStatus.TRAPEZOID: "trapezoids as asked for: linear from zero, straight lines, physical decay after the last",
    FitStatus.POPULATION: "one measured value: the effective half-life of a population through it",
    FitStatus.HAENSCHEID: "one measured value: integral by Hänscheid, whatever the half-life",
    FitStatus.GUIDED_TWO_RATES: "two rates, drawn towards those of the structure as far as the noise asks for",
}
