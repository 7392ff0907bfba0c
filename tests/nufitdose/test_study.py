import numpy as np
import pytest
from support.small_study import GRID, small_study, sphere

from nufitdose.errors import InputError
from nufitdose.study import Administration, Structures, Study, TimePoint
from nufitdose.volume import Quantity, Volume


def test_time_points_stand_in_order_of_time():
    study = small_study()
    shuffled = Study("P", "Lu-177", study.administration, "tp2", study.timepoints[::-1])
    assert [tp.id for tp in shuffled.timepoints] == ["tp1", "tp2", "tp3"]
    assert shuffled.reference.id == "tp2"


def test_images_are_read_on_first_use_and_once():
    reads = []

    def read():
        reads.append(1)
        return Volume(np.zeros(GRID.shape, np.float32), GRID, Quantity.ACTIVITY)

    timepoint = TimePoint("tp1", 4.0, read)
    assert not reads
    assert timepoint.activity is timepoint.activity
    assert len(reads) == 1


@pytest.mark.parametrize(
    ("hours", "said"), [((4.0, 4.0), "both 4.000 h"), ((-1.0, 4.0), "-1.000 h"), ((np.nan,), "nan")]
)
def test_impossible_times_are_refused(hours, said):
    with pytest.raises(InputError, match=said):
        small_study(hours)


def test_a_reference_must_exist():
    study = small_study()
    with pytest.raises(InputError, match="'tp9' is not among"):
        Study("P", "Lu-177", study.administration, "tp9", study.timepoints)


@pytest.mark.parametrize("activity", [0.0, -5.0, np.nan, np.inf])
def test_administered_activity_is_positive(activity):
    with pytest.raises(InputError, match="positive"):
        Administration(activity)


def test_overlapping_structures_lie_on_layers():
    one, two = sphere(15.0).astype(np.uint8), np.where(sphere(18.0), 2, 0).astype(np.uint8)
    layers = (Volume(one, GRID, Quantity.LABELS), Volume(two, GRID, Quantity.LABELS))
    structures = Structures(layers, {1: "core", 2: "whole", 3: "absent"}, frozenset({"core"}))
    assert structures.present() == ("core", "whole")
    assert structures.mask("whole")[0].sum() == (two == 2).sum()
    assert (structures.role("core"), structures.role("whole")) == ("tumour", "organ")


def test_tumours_must_be_structures():
    layer = Volume(sphere().astype(np.uint8), GRID, Quantity.LABELS)
    with pytest.raises(InputError, match="tumour_9"):
        Structures((layer,), {1: "liver"}, frozenset({"tumour_9"}))


def test_a_label_in_two_maps_is_refused():
    layer = Volume(sphere().astype(np.uint8), GRID, Quantity.LABELS)
    with pytest.raises(InputError, match="occurs in two label maps"):
        Structures((layer, layer), {1: "liver"}).present()
