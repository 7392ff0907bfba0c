"""Priors of rates: published half-lives keep their meaning, populations and earlier cycles tell today's."""

import numpy as np
import pytest

from dosimetry.kinetics.models import LN2
from dosimetry.kinetics.priors import (
    BLOOD,
    PUBLISHED,
    WIDE_BLOOD,
    WIDE_ORGAN,
    WIDE_TUMOUR,
    biological_half_life_h,
    find_prior,
    half_life_prior,
)
from nufitdose.errors import InputError

LU177_H = 159.528


def median_teff_h(rate, half_life_h):
    return LN2 / (LN2 / half_life_h + np.exp(rate.mean_ln_rate))


def test_biological_and_physical_rates_add_up():
    assert LN2 / biological_half_life_h(50.0, LU177_H) + LN2 / LU177_H == pytest.approx(LN2 / 50.0)
    for teff_h in (0.0, LU177_H, 200.0, np.nan):
        with pytest.raises(InputError, match="below the physical"):
            biological_half_life_h(teff_h, LU177_H)


def test_median_and_spread_of_a_half_life():
    rate = half_life_prior(80.0, 2.0)
    assert LN2 / np.exp(rate.mean_ln_rate) == pytest.approx(80.0)
    assert LN2 / np.exp(rate.mean_ln_rate - rate.sd_ln_rate) == pytest.approx(160.0)
    with pytest.raises(InputError, match="spread above 1"):
        half_life_prior(80.0, 1.0)


@pytest.mark.parametrize(
    ("tracer", "structure", "tumour", "published_h"),
    [
        ("Lu-177-DOTATATE", "kidney_left", False, 51.0),
        ("Lu-177-DOTATATE", "liver", False, 67.0),
        ("Lu-177-DOTATATE", "lesion 3", True, 77.0),
        ("Lu-177-PSMA", "Kidney_Right", False, 35.5),
        ("Lu-177-PSMA-617", "parotid_left", False, 42.2),
        ("Lu-177-PSMA", "liver", False, 22.9),
        ("Lu-177-PSMA", "spleen", False, 16.8),
    ],
)
def test_published_effective_half_lives_are_the_medians(tracer, structure, tumour, published_h):
    prior = find_prior(tracer, structure, tumour=tumour)
    assert median_teff_h(prior.clearance, LU177_H) == pytest.approx(published_h, rel=0.03)


def test_every_prior_says_where_it_comes_from_and_is_weak():
    priors = [prior for structures in PUBLISHED.values() for prior in structures.values()]
    assert all(prior.source for prior in [*priors, WIDE_ORGAN, WIDE_TUMOUR])
    for prior in priors:
        assert min(rate.sd_ln_rate for rate in (prior.clearance, prior.early, prior.uptake)) >= np.log(2.0)
        assert prior.clearance.sd_ln_rate < WIDE_ORGAN.clearance.sd_ln_rate


def test_nothing_is_guessed_from_the_nuclide_alone():
    assert find_prior("Lu-177", "kidney") is WIDE_ORGAN
    assert find_prior("I-131", "thyroid") is WIDE_ORGAN
    assert find_prior("I-131-MIBG", "lesion", tumour=True) is WIDE_TUMOUR
    assert find_prior("Lu-177-PSMA", "bladder") is WIDE_ORGAN


@pytest.mark.parametrize("name", ["heart", "Aorta", "blood pool", "inferior_vena_cava", "heart_atrium_left"])
def test_blood_leaves_with_filtration_whatever_holds_it(name):
    """T = ln 2 water/filtration: 1.4 h for 15 L and 7.2 L/h, 3 h for half of that, lie within 1 deviation."""
    prior = find_prior("Lu-177-DOTATATE", name)
    assert prior is BLOOD["dota"]
    for filtered_l_h in (7.2, 3.6):
        z = (np.log(filtered_l_h / 15.0) - prior.early.mean_ln_rate) / prior.early.sd_ln_rate
        assert abs(z) < 1.0
    assert prior.weights["bi"] > 0.5
    assert sum(prior.weights.values()) == pytest.approx(1.0)
    assert find_prior("", name) is WIDE_BLOOD
    assert find_prior("Lu-177-DOTATATE", name, tumour=True).name == "DOTATATE tumour"


def test_a_population_tells_the_clearance():
    many = WIDE_ORGAN.with_clearance([40.0, 50.0, 60.0, 45.0, 55.0], LU177_H, "first cycles")
    assert 45.0 < median_teff_h(many.clearance, LU177_H) < 55.0
    assert many.clearance.sd_ln_rate < 0.4
    assert many.uptake == WIDE_ORGAN.uptake
    assert many.source.startswith("first cycles")


def test_one_earlier_cycle_is_known_less_well_than_many_alike():
    one = WIDE_ORGAN.with_clearance([50.0], LU177_H, "cycle 1")
    alike = WIDE_ORGAN.with_clearance([50.0, 50.0, 50.0], LU177_H, "cycles 1 to 3")
    assert alike.clearance.sd_ln_rate < one.clearance.sd_ln_rate < WIDE_ORGAN.clearance.sd_ln_rate
    with pytest.raises(InputError, match="no half-lives"):
        WIDE_ORGAN.with_clearance([], LU177_H, "none")
