"""Comparing methods over patients: patients and not pairs are counted, losing shows, tests are the textbook's."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.stats import wilcoxon

from dosimetry.evaluation.comparison import Measure, compare, paired_test, patient_values
from dosimetry.evaluation.downstream import StructureScore, percent_off
from dosimetry.evaluation.pages import method_table, peer_table
from dosimetry.evaluation.patient import PairScore, PatientScore

TRE = Measure("TRE organs", "organ_mm", "mm")


def pair(method: str, patient: str, organ_mm: float, **more: float) -> PairScore:
    kinds = {field.name: 0.0 for field in dataclasses.fields(PairScore)}
    texts = {"method": method, "patient": patient, "nuclide": "Lu-177", "fixed": "tp1", "moving": "tp2"}
    return PairScore(**kinds | {"tumour_mm": math.nan} | texts | {"organ_mm": organ_mm} | more)


def structure(method: str, patient: str, role: str, tia_percent: float) -> StructureScore:
    return StructureScore(method, patient, role, role, tia_percent, 0.0, 0.0, 0.0, 0.0)


def test_a_method_is_averaged_over_patients_and_not_over_pairs():
    rows = [pair("a", "p1", 2.0), pair("a", "p1", 4.0), pair("a", "p1", 6.0), pair("a", "p2", 8.0)]
    (found,) = compare(rows, [], "a", [TRE])
    assert (found.patients, found.mean, found.median) == (2, 6.0, 6.0)
    assert found.sd == pytest.approx(math.sqrt(8.0))


def test_what_the_registration_does_is_told_beside_the_exact_field_of_the_same_structure():
    rows = [
        structure("exact", "p1", "tumour", -3.0),
        structure("exact", "p2", "tumour", 5.0),
        structure("a", "p1", "tumour", 10.0),
        structure("a", "p2", "tumour", -4.0),
        structure("a", "p2", "organ", 50.0),
    ]
    beside = Measure("x", "tia_percent", "%", "tumour", beside_exact=True)
    found = patient_values(beside, [], rows)
    assert found == {"a": {"p1": pytest.approx(100 * (1.10 / 0.97 - 1)), "p2": pytest.approx(100 * (1 - 0.96 / 1.05))}}


def test_a_wrong_motion_that_makes_up_for_blur_is_no_gain():
    rows = [structure("exact", "p", "tumour", -30.0), structure("a", "p", "tumour", -10.0)]
    beside = Measure("x", "tia_percent", "%", "tumour", beside_exact=True)
    assert patient_values(beside, [], rows)["a"]["p"] == pytest.approx(100 * (0.9 / 0.7 - 1))


def test_p_and_effect_are_those_of_other_programs():
    chance = np.random.default_rng(2)
    a, b = chance.normal(1.0, 0.3, 12), chance.normal(1.3, 0.3, 12)
    difference, p, effect = paired_test(*({str(n): float(v) for n, v in enumerate(some)} for some in (a, b)))
    assert difference == pytest.approx((a - b).mean())
    assert p == pytest.approx(wilcoxon(a, b).pvalue)
    above = wilcoxon(a, b, alternative="greater").statistic  # the sum of ranks of positive differences
    assert effect == pytest.approx(2 * above / (12 * 13 / 2) - 1)
    assert paired_test({"p": 1.0}, {"p": 1.0}) == (0.0, 1.0, 0.0)
    assert np.isnan(paired_test({"p": 1.0}, {"q": 1.0})[0])


def test_losing_shows():
    names = [f"p{n}" for n in range(6)]
    rows = [pair("nufit", name, 2.0 + 0.1 * n) for n, name in enumerate(names)]
    rows += [pair("greedy", name, 1.0 + 0.1 * n) for n, name in enumerate(names)]
    rows += [pair("elastix", name, 5.0) for name in names]
    found = compare(rows, [], "nufit", [TRE])
    by_method = {row.method: row for row in found}
    assert by_method["greedy"].better == "other"
    assert by_method["greedy"].effect == 1
    assert by_method["greedy"].p == pytest.approx(2 / 2**6)
    assert by_method["elastix"].better == "ours"
    line = peer_table(found, "nufit", ["greedy", "elastix"]).splitlines()[-1]
    assert [cell.strip() for cell in line.split("|")[1:7]] == [
        "TRE organs, mm", "2.25", "1.25", "`greedy`", "1.80", "`greedy`",
    ]  # fmt: skip
    assert "| `elastix` | 5.00 ± 0 |" in method_table(found, ["TRE organs", "TRE lungs"])
    assert method_table(found, ["TRE lungs"]) == peer_table(found, "nufit", []) == ""


def test_a_measure_where_more_is_better_is_judged_so():
    dice = Measure("Dice", "dice", "", higher=True)
    rows = [pair("nufit", f"p{n}", 1.0, dice=0.8) for n in range(5)]
    rows += [pair(peer, f"p{n}", 1.0, dice=d) for n in range(5) for peer, d in (("greedy", 0.9), ("elastix", 0.6))]
    found = compare(rows, [], "nufit", [dice])
    assert {row.method: row.better for row in found} == {"nufit": "", "greedy": "other", "elastix": "ours"}
    assert "| 0.80 | 0.90 | `greedy` |" in peer_table(found, "nufit", ["greedy", "elastix"])


def test_scores_survive_the_way_through_a_file():
    score = PatientScore((pair("a", "p", 1.5),), (structure("a", "p", "tumour", -2.0),))
    again = PatientScore.from_dict(score.to_dict())
    assert again.structures == score.structures
    assert again.pairs[0].organ_mm == 1.5
    assert percent_off(90.0, 100.0) == pytest.approx(-10)
    assert np.isnan(percent_off(1.0, 0.0))
