"""The lights of structures: each turns where its number crosses the guide value, and the worst one speaks."""

import csv
import dataclasses

import numpy as np
import pytest

from dosimetry.config import DoseSettings, DosimetrySettings
from dosimetry.kinetics import FitStatus
from dosimetry.kinetics.model_average import average_models
from dosimetry.kinetics.priors import BLOOD
from dosimetry.lights.structures import activity_balance, judge, structure_lights, warn_of_curves
from dosimetry.lights.values import Light, State, graded, worst
from dosimetry.output.tables import write_tables
from dosimetry.pipeline import analyse
from dosimetry.uncertainty.budget import Budget, Part, Source
from nufitdose.progress import Steps
from nufitdose.study import Administration
from tests.support.small_study import small_study


@pytest.fixture(scope="module")
def results():
    return analyse(
        small_study(hours=(4.0, 24.0, 96.0, 168.0)),
        DosimetrySettings.model_validate({"registration": {"engine": "none"}, "uncertainty": {"registration_mm": 0.0}}),
        Steps(1.0, None),
    )


def changed(results, **how):
    return dataclasses.replace(results, structures=(dataclasses.replace(results.structures[0], **how),))


def light(results, topic):
    return next(one for one in structure_lights(results, results.structures[0]) if one.topic == topic)


def with_part(results, name, dose, basis="x"):
    parts = tuple(
        dataclasses.replace(part, dose=dose, tia=dose, basis=basis) if part.name == name else part
        for part in results.structures[0].budget.parts
    )
    return changed(results, budget=Budget(parts))


def test_grades():
    states = [graded(value, 5.0, 15.0) for value in (5.0, 5.1, 15.1, float("nan"))]
    assert states == [State.GOOD, State.LOOK, State.BAD, State.UNKNOWN]
    lights = [Light(state.value, state, "", "") for state in states]
    assert worst(lights).state is State.BAD
    assert worst(lights[:1] + lights[3:]).state is State.UNKNOWN


@pytest.mark.parametrize(("part", "topic"), [("recovery", "Recovery"), ("registration", "Registration")])
def test_a_part_that_grows_turns_its_light(results, part, topic):
    found = [light(with_part(results, part, u), topic).state for u in (0.01, 0.12, 0.6)]
    assert found == [State.GOOD, State.LOOK, State.BAD]


def test_a_tail_that_was_not_measured_turns_the_curve(results):
    fit = results.structures[0].curve.fit
    states = []
    for share in (0.1, 0.3, 0.6):
        curve = dataclasses.replace(
            results.structures[0].curve, fit=dataclasses.replace(fit, extrapolated_fraction=share), average=None
        )
        states.append(light(changed(results, curve=curve), "Curve").state)
    assert states == [State.GOOD, State.LOOK, State.BAD]


def test_rising_activity_is_red_where_the_curve_has_no_error(results):
    """Trapezoids with a physical tail have no error of a fit: their rise and their tail count all the same."""
    curve = results.structures[0].curve
    found = {}
    for status in (FitStatus.RISING, FitStatus.TRAPEZOID):
        fit = dataclasses.replace(curve.fit, extrapolated_fraction=0.73, status=status, u_tia_mbq_h=float("nan"))
        unknown = dataclasses.replace(curve, fit=fit, average=None)
        found[status] = light(changed(results, curve=unknown), "Curve")
    assert all(one.state is State.BAD for one in found.values())
    assert "still rises" in found[FitStatus.RISING].found
    assert "73 % after the last scan" in found[FitStatus.TRAPEZOID].found


def test_what_lies_before_the_first_scan_is_told_where_it_is_much(results):
    """A mono-exponential of 60 h has 4.5 % of Ã before 4 h, blood that falls with 1.6 h half of it."""
    times_h, slow_h = np.array([4.0, 24.0, 96.0, 168.0]), 60.0
    curve = results.structures[0].curve
    assert "before the first" not in light(results, "Curve").found
    blood = 100.0 * 2.0 ** (-times_h / 1.6) + 3.0 * 2.0 ** (-times_h / slow_h)
    found = average_models(times_h, blood, 159.528, u_activity_mbq=0.03 * blood, prior=BLOOD["dota"])
    told = light(changed(results, curve=dataclasses.replace(curve, average=found)), "Curve").found
    share, u = 100.0 * found.before_first_fraction, 100.0 * found.u_before_first_fraction
    assert f"{share:.0f} ± {u:.0f} % before the first" in told
    assert abs(share - 48.0) < 2.0 * u


def test_rising_activity_and_long_tails_are_warned_of(results, caplog):
    curve = results.structures[0].curve
    measured = dataclasses.replace(curve.fit, extrapolated_fraction=0.49)
    rising = dataclasses.replace(curve.fit, extrapolated_fraction=0.51, status=FitStatus.RISING)
    for fit, said in ((measured, []), (rising, ["still rises at the last scan in liver", "in liver (51 %)"])):
        caplog.clear()
        warn_of_curves(changed(results, curve=dataclasses.replace(curve, fit=fit, average=None)).structures)
        assert len(caplog.messages) == len(said)
        assert all(words in message for words, message in zip(said, caplog.messages, strict=True))


def test_a_tumour_that_rises_in_two_scans_is_warned_of_whatever_the_method(caplog):
    study = small_study(hours=(4.0, 24.0), teff_h=-60.0)
    for model in ("bayes", "aicc"):
        caplog.clear()
        settings = {"registration": {"engine": "none"}, "kinetics": {"model": model}, "dose": {"engine": "local"}}
        analyse(study, DosimetrySettings.model_validate(settings), Steps(1.0, None))
        assert any("still rises at the last scan in liver" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("share", "state"), [(1.2, State.BAD), (0.8, State.GOOD), (0.15, State.LOOK), (0.001, State.BAD)]
)
def test_the_balance_has_two_ends(results, share, state):
    """15 % of what decay leaves in view is not green, nor is more than was given."""
    first = results.frames[0]
    given = first.total_mbq / share * 2.0 ** (first.time_h / 159.528)
    study = dataclasses.replace(results.study, administration=Administration(given))
    assert activity_balance(dataclasses.replace(results, study=study)).state is state


def test_photons_are_more_of_an_organ_and_of_iodine(results):
    def share(nuclide, mass_g):
        study = dataclasses.replace(results.study, nuclide=nuclide)
        local = results.settings.model_copy(update={"dose": DoseSettings(engine="local")})  # leaves photons out
        found = light(dataclasses.replace(changed(results, mass_g=mass_g), study=study, settings=local), "Photons")
        return float(found.found.split("about ")[1].split(" %")[0]), found.state

    assert share("Lu-177", 20.0)[0] < share("Lu-177", 1800.0)[0] < share("I-131", 1800.0)[0]
    assert share("I-131", 1800.0)[1] is State.BAD
    assert share("Lu-177", 20.0)[1] is State.GOOD


def test_terminal_table_and_csv_carry_the_same_light(results, tmp_path):
    from dosimetry.output.summary import summary

    name, found = next(iter(judge(results).items()))
    write_tables(results, tmp_path)
    with (tmp_path / "metrics.csv").open(encoding="utf-8", newline="") as file:
        row = next(csv.DictReader(file))
    assert (row["structure"], row["light"]) == (name, found.state.colour)
    assert found.state.colour in summary(results)
    assert found.sentence.split(":")[0] in summary(results)
    budget = (tmp_path / "uncertainty.csv").read_text(encoding="utf-8").splitlines()
    mine = [line.split(",") for line in budget if line.startswith(f"{name},")]
    assert sum(float(line[3]) for line in mine if line[1] != "total") == pytest.approx(100.0, rel=1e-4)
    squares = sum(float(line[2]) ** 2 for line in mine if line[1] != "total")
    total = next(line for line in mine if line[1] == "total")
    assert float(total[2]) ** 2 == pytest.approx(squares, rel=1e-4)


def test_a_budget_without_anything_has_no_shares():
    assert [share for _, share in Budget((Part("a", 0.0, 0.0, Source.MEASURED),)).shares()] == [0.0]
