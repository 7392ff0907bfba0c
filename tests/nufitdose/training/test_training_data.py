"""The data hand-over: cohorts and folders of studies, splits by patient, broken studies, pairs, the memory budget."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml
from support.training_stand_in import blob_pair
from support.training_studies import write_patient

from nufitdose.errors import InputError
from nufitdose.grid import Grid
from nufitdose.io.truth import read_landmarks
from nufitdose.registration.objective import NetworkOutput, ObjectiveSettings, objective
from nufitdose.registration.smoothing import gaussian
from nufitdose.study import Structures
from nufitdose.training.augmentation import augment, random_motion
from nufitdose.training.labels import LabelMap
from nufitdose.training.pairs import InterPatientOrder, IntraPatientOrder, TrainingPairs, generator_of, validation_keys
from nufitdose.training.preparation import keys_of, prepare_all, read_cohort
from nufitdose.training.records import read_table
from nufitdose.training.request import RunRequest
from nufitdose.training.scans import Scan, ScanKey, ScanStore, pair_scans, start_of
from nufitdose.training.settings import AugmentationSettings, DataSettings, SplitSettings
from nufitdose.volume import Quantity, Volume

STILL = AugmentationSettings(
    affine_mm=0, affine_degrees=0, affine_log_scale=0, gain=0, noise=0, gamma=0, washout=0, blur=0, inversion=0, crop=0
)


@pytest.fixture
def folder(tmp_path):
    for number in range(1, 7):
        write_patient(tmp_path / "deep" / f"study{number}", f"P{number}", dimmer=0.1 * number)
    return tmp_path


def of(folder, **how):
    return DataSettings(cohort=str(folder), **how)


def names(members):
    return [member.patient for member in members]


def test_the_settings_say_the_splits_and_how_many_patients(folder):
    splits = SplitSettings(train=("P1", "P2", "P4"), validation=("P5", "P3"), test=("P6",))
    cohort = read_cohort(of(folder, splits=splits, train_patients=2, validation_patients=1), seed=0)
    assert [names(part) for part in (cohort.train, cohort.validation, cohort.test)] == [["P1", "P2"], ["P3"], ["P6"]]
    by_shares = read_cohort(of(folder, shares=(0.5, 0.0)), seed=0)
    assert [len(part) for part in (by_shares.train, by_shares.validation, by_shares.test)] == [3, 3, 0]
    (folder / "deep/study5/study.yaml").write_text("patient: [")
    assert len(read_cohort(of(folder, broken="skip"), seed=0).members) == 5


def test_a_study_with_a_broken_image_is_refused_or_left_out_when_prepared(folder, tmp_path):
    (folder / "deep/study2/tp2/activity.nii.gz").write_bytes(b"not an image")
    members = read_cohort(of(folder), seed=0).members
    identity = {"within": lambda fixed, moving: np.eye(4), "between": lambda fixed, moving: np.eye(4)}
    store = ScanStore(tmp_path / "prepared", memory_bytes=1e9)
    with pytest.raises(InputError, match="study2"):
        prepare_all(members, store, spacing_mm=8.0, broken="refuse", **identity)
    prepare_all(members, store, spacing_mm=8.0, broken="skip", **identity)
    there = {m.patient for m in members if all(key in store for key in keys_of(m))}
    assert there == {"P1", "P3", "P4", "P5", "P6"}


def key(patient, timepoint="tp1"):
    return ScanKey(f"{patient}-{timepoint}", timepoint, patient)


def test_inter_patient_pairs_are_of_two_patients_and_as_many_of_each():
    scans = [key("A", f"tp{n}") for n in range(9)] + [key("B"), key("C")]
    order = InterPatientOrder(scans, seed=2)
    drawn = [order.at(place) for place in range(3000)]
    assert all(fixed.patient != moving.patient for fixed, moving in drawn)
    counts = {p: sum(fixed.patient == p for fixed, _ in drawn) for p in "ABC"}
    assert all(count == pytest.approx(1000, abs=100) for count in counts.values())
    assert order.at(17) == InterPatientOrder(scans, seed=2).at(17)
    with pytest.raises(InputError, match="two or more"):
        InterPatientOrder([key("A"), key("A", "tp2")], seed=0)


def test_every_ordered_pair_within_a_patient_comes_once_an_epoch():
    studies = [[key("A", f"tp{n}") for n in range(3)], [key("B", f"tp{n}") for n in range(2)]]
    order = IntraPatientOrder(studies, seed=1)
    assert len(order.pairs) == 3 * 2 + 2 * 1
    first, second = ([order.at(place) for place in range(start, start + 8)] for start in (0, 8))
    assert set(first) == set(second) == set(order.pairs)
    assert first != second
    assert all(fixed.patient == moving.patient and fixed != moving for fixed, moving in first)
    assert len(validation_keys(order, 5)) == 5
    assert len(set(validation_keys(order, 50))) == len(validation_keys(order, 50)) <= 8


def scan(shift_mm=(0.0, 0.0, 0.0), pose=None, shape=(10, 12, 8)):
    """A Gaussian blob in world, sampled on a grid of its own."""
    grid = Grid.from_spacing(shape, (4.0, 4.0, 5.0), centre_mm=(3.0, -2.0, 10.0))
    index = np.stack(np.meshgrid(*[np.arange(float(n)) for n in shape], indexing="ij"), -1)
    distance = np.linalg.norm(grid.world(index) - np.array([3.0, -2.0, 10.0]) - shift_mm, axis=-1)
    blob = torch.from_numpy(np.exp(-((distance / 14.0) ** 2)).astype(np.float32))
    channels = torch.stack([blob, blob**2, torch.ones_like(blob), torch.ones_like(blob)])
    return Scan(channels.half(), (True, True), grid, np.eye(4) if pose is None else pose)


def test_a_pair_meets_through_the_poses():
    """A blob moved by t, with the pose that says so, lies where the fixed one does; without, it lies elsewhere."""
    shift = np.array([6.0, -3.0, 4.0])
    pose = np.eye(4)
    pose[:3, 3] = shift
    fixed, moving = scan(), scan(shift, pose)
    assert np.allclose(start_of(fixed, moving), pose)
    together = pair_scans(fixed, moving)
    apart = pair_scans(fixed, scan(shift))
    inner = (0, slice(None), slice(3, -3), slice(3, -3), slice(2, -2))
    difference = [float((p.ct[inner][0] - p.ct[inner][1]).abs().max()) for p in (together, apart)]
    assert difference[0] < 0.06  # one linear interpolation of a blob of 14 mm at 4-5 mm
    assert difference[1] > 0.25
    back = start_of(moving, fixed) @ start_of(fixed, moving)
    assert np.allclose(back, np.eye(4))


def drawn(box, names=("kidney_left", "liver", "tumour_1"), shift=0):
    """A scan of 10 x 12 x 8 voxels on which every structure is a slab of two voxels along i."""
    one = (
        scan() if not shift else scan(pose=np.array([[1, 0, 0, 4.0 * shift], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    )
    data = np.zeros(one.grid.shape, dtype=np.uint8)
    for number in range(1, len(names) + 1):
        data[2 * number - 1 + shift : 2 * number + 1 + shift, box] = number
    labels = LabelMap(data, tuple(names), frozenset(name for name in names if name.startswith("tumour")))
    return dataclasses.replace(one, labels=labels)


def test_structures_of_the_same_names_get_common_numbers_and_meet_through_the_poses():
    box = slice(3, 9)
    fixed, moving = drawn(box), drawn(box, ("liver", "spleen", "tumour_1"), shift=1)
    pair = pair_scans(fixed, moving, same_patient=True)
    at = {name: 2 * n + 1 for n, name in enumerate(fixed.labels.names)}
    assert set(pair.labels.unique().tolist()) == {0, 1, 2}
    assert pair.labels[0, 1, at["liver"], 5, 5] == 1
    assert pair.labels[0, 1, at["tumour_1"], 5, 5] == 2
    assert not pair.labels[0, 1, at["kidney_left"]].any()  # not drawn on the other scan
    assert pair.labels[0, 0, 1, 5, 5] == 1  # the other liver, brought one voxel back by its pose
    assert pair.labels[0, 0, 5, 5, 5] == 2
    assert not pair.labels[0, 0, 3].any()
    assert torch.equal(pair.tumours[0, 1] > 0, torch.from_numpy(fixed.labels.data == 3))
    swapped = pair.swapped()
    assert torch.equal(swapped.labels[:, 0], pair.labels[:, 1])
    assert torch.equal(swapped.tumours[:, 0], pair.tumours[:, 1])


def test_tumours_of_two_patients_are_not_the_same_though_they_bear_one_name():
    fixed, moving = drawn(slice(3, 9)), drawn(slice(3, 9))
    between = pair_scans(fixed, moving)
    assert between.labels.max() == 2
    assert pair_scans(fixed, moving, same_patient=True).labels.max() == 3
    assert between.tumours.any()  # each is kept rigid all the same
    assert pair_scans(fixed, drawn(slice(3, 9), ("heart",))).labels is None
    assert pair_scans(fixed, scan()).labels is None


def test_overlapping_layers_become_one_map_and_the_tumour_is_kept():
    grid = Grid.from_spacing((8, 8, 8), (4.0, 4.0, 4.0))
    organ, tumour = np.zeros((2, 8, 8, 8), dtype=np.int32)
    organ[1:7, 1:7, 1:7], tumour[3:5, 3:5, 3:5] = 12, 700
    layers = tuple(Volume(data, grid, Quantity.LABELS) for data in (tumour, organ))
    structures = Structures(layers, {12: "liver", 700: "a_tumour", 3: "absent"}, frozenset({"a_tumour"}))
    found = LabelMap.of(structures, grid)
    assert found.names == ("liver", "a_tumour")
    assert np.array_equal(found.data, np.where(tumour > 0, 2, organ > 0))
    again = LabelMap.read(torch.from_numpy(found.data), found.describe())
    assert again.names == found.names
    assert again.tumours == {"a_tumour"}


def test_structures_reach_the_loss_from_study_folders(tmp_path):
    """The sphere that both scans name lies where it is: Dice 1, and less when one is moved by a voxel."""
    write_patient(tmp_path / "bare", "P1")
    write_patient(tmp_path / "drawn", "P2", drawn=True)
    bare, drawn = (read_cohort(of(tmp_path / name), seed=0).members for name in ("bare", "drawn"))
    how = {"spacing_mm": 8.0, "broken": "refuse", "within": lambda f, m: np.eye(4), "between": None}
    store = ScanStore(tmp_path / "prepared", memory_bytes=1e9)
    with pytest.raises(InputError, match="no two scans"):
        prepare_all(bare, store, with_structures=True, **how)
    prepare_all(drawn, store, with_structures=True, **how)
    fixed, moving = (store.get(one) for one in keys_of(drawn[0]))
    assert fixed.labels.names == ("liver",)
    assert fixed.bytes == 2 * fixed.channels.numel() + fixed.labels.data.size
    pair = pair_scans(fixed, moving, same_patient=True)
    half = tuple(n // 2 for n in pair.ct.shape[2:])
    settings = ObjectiveSettings(dice=1.0)
    met = objective(NetworkOutput(torch.zeros(1, 3, *half)), pair, settings)
    missed = objective(NetworkOutput(torch.ones(1, 3, *half)), pair, settings)
    assert float(met.dice) == pytest.approx(1.0, abs=1e-5)
    assert float(missed.dice) < 0.9
    assert missed.total > met.total


def test_a_scan_without_ct_makes_a_pair_of_activity_alone():
    one = scan()
    bare = Scan(one.channels, (False, True), one.grid, one.pose)
    pair = pair_scans(one, bare)
    assert pair.present.tolist() == [[False, True]]
    assert not pair.ct.any()
    assert pair.activity.any()


def test_the_store_keeps_to_its_budget_and_reads_the_same_from_disk(tmp_path):
    made = {key(f"P{n}"): scan((float(n), 0.0, 0.0)) for n in range(6)}
    each = next(iter(made.values())).bytes
    store = ScanStore(tmp_path, memory_bytes=2.5 * each)
    for name, one in made.items():
        store.put(name, one)
    for name in [*made, *made]:
        found = store.get(name)
        assert torch.equal(found.channels, made[name].channels)
        assert found.grid.matches(made[name].grid)
        assert found.present == made[name].present
        assert store.held_bytes <= 2.5 * each
    assert store.held_bytes == 2 * each
    broken = next(tmp_path.glob("*.safetensors"))
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        [ScanStore(tmp_path, memory_bytes=1e9).get(name) for name in made]


def test_pairs_made_ahead_are_those_made_one_by_one(tmp_path):
    store = ScanStore(tmp_path, memory_bytes=1e9)
    scans = [key(f"P{n}") for n in range(4)]
    for n, name in enumerate(scans):
        store.put(name, scan((float(n), 0.0, 0.0)))
    order = InterPatientOrder(scans, seed=0)
    alone, ahead = (TrainingPairs(order, store, AugmentationSettings(), seed=3, workers=w) for w in (0, 3))
    for place, pair in zip((5, 9, 2, 5), ahead.along(iter((5, 9, 2, 5))), strict=True):
        for name in ("ct", "activity", "body", "weight_ct"):
            assert torch.equal(getattr(pair, name), getattr(alone.at(place), name))


def test_augmentation_switched_off_changes_nothing_and_switched_on_stays_in_range():
    pair = blob_pair(1)
    same = augment(pair, STILL, generator_of(0))
    assert torch.allclose(same.ct, pair.ct, atol=1e-6)
    assert torch.allclose(same.activity, pair.activity.clamp_min(1e-6), atol=1e-6)
    wild = AugmentationSettings(noise=0.1, washout=0.5, blur=1.0, inversion=0.5, crop=1.0)
    for n in range(5):
        varied = augment(pair, wild, generator_of(1, n))
        for images in (varied.ct, varied.activity):
            assert float(images.min()) >= 0.0
            assert float(images.max()) <= 1.0
            assert not images[varied.body == 0].any()  # cut away means nothing is seen
        assert torch.equal(varied.weight_ct, pair.weight_ct)
        assert not torch.equal(varied.ct, pair.ct)


def test_the_small_motion_has_the_spread_it_is_told():
    settings = AugmentationSettings(affine_mm=5.0, affine_degrees=3.0, affine_log_scale=0.05)
    random = np.random.default_rng(0)
    motions = np.stack([random_motion(settings, random) for _ in range(2000)])
    assert motions[:, :3, 3].std() == pytest.approx(5.0, rel=0.05)
    volumes = np.log(np.linalg.det(motions[:, :3, :3]))
    assert volumes.std() == pytest.approx(0.05 * np.sqrt(3.0), rel=0.06)
    assert np.allclose(random_motion(STILL, random), np.eye(4))


def test_landmarks_are_read_per_time_point_and_only_those_seen_by_both(tmp_path):
    (tmp_path / "truth").mkdir()
    head = "structure,timepoint,fixed_x_mm,fixed_y_mm,fixed_z_mm,moving_x_mm,moving_y_mm,moving_z_mm\n"
    rows = [
        "liver,tp1,0,0,0,0,0,0",
        "spleen,tp1,900,0,0,900,0,0",
        "liver,tp2,0,0,0,5,0,0",
        "spleen,tp2,900,0,0,901,0,0",
    ]
    path = tmp_path / "truth/landmarks.csv"
    path.write_text(head + "\n".join(rows))
    grid = Grid.from_spacing((10, 10, 10), (4.0, 4.0, 4.0))
    found = read_landmarks(tmp_path)
    fixed, moving = found.shared("tp2", grid, "tp1", grid)
    assert fixed.tolist() == [[5.0, 0.0, 0.0]]
    assert moving.tolist() == [[0.0, 0.0, 0.0]]
    assert read_landmarks(tmp_path / "truth") is None
    path.write_text(head + "\n".join(rows[:3]))
    with pytest.raises(InputError, match="same landmarks"):
        read_landmarks(tmp_path)


def test_smoothing_keeps_a_shift_of_part_of_a_voxel_from_looking_like_a_match():
    """Two noisy views of one blob: unsmoothed, a quarter of a voxel off looks better, for it averages the noise."""
    clean = blob_pair(1).ct[:, 1:].repeat(1, 2, 1, 1, 1)
    noisy = clean + 0.1 * torch.randn(clean.shape, generator=generator_of(3))
    pair = dataclasses.replace(
        blob_pair(1), ct=noisy, activity=torch.zeros_like(noisy), present=torch.tensor([[True, False]])
    )
    shift = torch.zeros(1, 3, *(n // 2 for n in noisy.shape[2:]))
    still = NetworkOutput(shift.clone())
    shift[:, 0] = 0.25
    settings = ObjectiveSettings(smoothness=0.0)

    def loss(output, blur):
        return float(objective(output, pair.smoothed(blur), settings).total)

    assert loss(NetworkOutput(shift), 0.0) < loss(still, 0.0)
    assert loss(NetworkOutput(shift), 1.0) > loss(still, 1.0)


def test_a_gaussian_keeps_constants_and_has_its_width():
    image = torch.zeros(1, 2, 21, 21, 21)
    image[:, 0, 10, 10, 10] = 1.0
    image[:, 1] = 0.7
    found = gaussian(image, 1.5)
    assert torch.allclose(found[:, 1], torch.tensor(0.7), atol=1e-6)
    place = torch.arange(21.0) - 10
    profile = found[0, 0].sum(dim=(1, 2))
    assert float(profile.sum()) == pytest.approx(1.0, abs=1e-5)
    assert float((profile * place**2).sum()) == pytest.approx(1.5**2, rel=0.05)


@pytest.mark.slow
def test_a_run_weakly_supervised_by_structures(tmp_path):
    from finetune.stage import run_finetune

    for number in range(1, 4):
        write_patient(tmp_path / f"cohort/p{number}", f"P{number}", dimmer=0.2 * number, drawn=True)
    content = {
        "start": "scratch",
        "network": {"size": "tiny", "working_spacing_mm": 10.0},
        "data": {"cohort": str(tmp_path / "cohort"), "validation_pairs": 0},
        "objective": {"dice": 0.5, "rigidity": 0.1},
        "augmentation": STILL.model_dump(),
        "loop": {"steps": 2, "ema_decay": None},
    }
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
    run_finetune(RunRequest(tmp_path / "c.yaml", tmp_path / "run", device="cpu"))
    assert [path.name for path in (tmp_path / "run/prepared").iterdir()] == ["10mm_within_patients_with_structures"]
    first = read_table(tmp_path / "run/metrics.csv")[0]
    assert first["dice"] > 0.95  # the same sphere on both scans, and a network that begins with no motion
