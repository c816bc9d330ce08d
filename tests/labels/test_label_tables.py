import pytest

from farl_hf import labels
from farl_hf.labels import (
    CELEBA_ATTRIBUTES,
    CELEBAMASK_DATASET_LABELS,
    CELEBAMASK_FILE_SUFFIXES,
    CELEBAMASK_FROM_DATASET,
    CELEBAMASK_LABELS,
    CELEBAMASK_MIRROR_PAIRS,
    CELEBAMASK_PALETTE,
    FIVE_FROM_LANDMARKS,
    FIVE_POINTS,
    FIVE_POINTS_MIRROR_PAIRS,
    LANDMARK_GROUPS,
    LANDMARK_MIRROR_PAIRS,
    LAPA_LABELS,
    LAPA_MIRROR_PAIRS,
    LAPA_PALETTE,
    NORMALISERS,
    palette_for,
)

# The 300W table of HRNet counts from 1; typed here as published.
W300_PAIRS_FROM_ONE = (
    "1,17 2,16 3,15 4,14 5,13 6,12 7,11 8,10 18,27 19,26 20,25 21,24 22,23 32,36 33,35 37,46 38,45 39,44 40,43 41,48 "
    "42,47 49,55 50,54 51,53 62,64 61,65 68,66 59,57 60,56"
)
FIXED = {
    19: {13, 16, 18},
    68: {8, 27, 28, 29, 30, 33, 51, 57, 62, 66},
    98: {16, 51, 52, 53, 54, 57, 79, 85, 90, 94},
    106: {16, 51, 52, 53, 54, 60, 87, 93, 98, 102},
}


def unordered(pairs):
    return {frozenset(pair) for pair in pairs}


def test_sizes_of_the_label_sets():
    assert len(LAPA_LABELS) == len(LAPA_PALETTE) == 11
    assert len(CELEBAMASK_LABELS) == len(CELEBAMASK_PALETTE) == 19
    assert len(CELEBA_ATTRIBUTES) == 40


@pytest.mark.parametrize("names", [LAPA_LABELS, CELEBAMASK_LABELS, CELEBAMASK_DATASET_LABELS, CELEBA_ATTRIBUTES])
def test_names_are_distinct_and_in_snake_case(names):
    assert len(set(names)) == len(names)
    assert all(name == name.lower() and " " not in name and "-" not in name for name in names)


def test_attributes_keep_the_order_of_the_annotation_file():
    assert [CELEBA_ATTRIBUTES[i] for i in (0, 4, 15, 20, 31, 35, 39)] == [
        "5_o_clock_shadow", "bald", "eyeglasses", "male", "smiling", "wearing_hat", "young",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (LAPA_LABELS, LAPA_MIRROR_PAIRS),
        (CELEBAMASK_LABELS, CELEBAMASK_MIRROR_PAIRS),
        (CELEBAMASK_DATASET_LABELS, labels.CELEBAMASK_DATASET_MIRROR_PAIRS),
        (FIVE_POINTS, FIVE_POINTS_MIRROR_PAIRS),
    ],
)
def test_mirror_pairs_exchange_exactly_the_names_with_a_side(names, pairs):
    swapped = list(names)
    for first, second in pairs:
        swapped[first], swapped[second] = names[second], names[first]
    other_side = {"left": "right", "right": "left"}
    assert swapped == ["_".join(other_side.get(word, word) for word in name.split("_")) for name in names]


def test_both_orders_of_celebamask_mean_the_same_parts():
    assert sorted(CELEBAMASK_FROM_DATASET) == list(range(19))
    # Ids of the dataset's own script: 4 l_eye, 10 mouth, 12 l_lip (lower), 17 neck.
    for dataset_id, suffix in ((1, "skin"), (4, "l_eye"), (10, "mouth"), (12, "l_lip"), (15, "ear_r"), (17, "neck")):
        assert CELEBAMASK_FILE_SUFFIXES[CELEBAMASK_FROM_DATASET[dataset_id]] == suffix


def test_68_point_pairs_are_those_of_the_published_table():
    published = [tuple(int(number) - 1 for number in pair.split(",")) for pair in W300_PAIRS_FROM_ONE.split()]
    assert unordered(LANDMARK_MIRROR_PAIRS[68]) == unordered(published)


@pytest.mark.parametrize("num_points", [19, 68, 98, 106])
def test_landmark_pairs_leave_only_the_middle_of_the_face(num_points):
    paired = [index for pair in LANDMARK_MIRROR_PAIRS[num_points] for index in pair]
    assert len(paired) == len(set(paired))
    assert set(range(num_points)) - set(paired) == FIXED[num_points]


@pytest.mark.parametrize("num_points", [19, 68, 98, 106])
def test_groups_cover_every_landmark_once_and_mirror_onto_groups(num_points):
    groups = LANDMARK_GROUPS[num_points]
    covered = [index for indices, _ in groups.values() for index in indices]
    assert sorted(covered) == list(range(num_points))
    mirror = {a: b for pair in LANDMARK_MIRROR_PAIRS[num_points] for a, b in (pair, pair[::-1])}
    for name, (indices, _) in groups.items():
        other = name.replace("left", "#").replace("right", "left").replace("#", "right")
        assert {mirror.get(index, index) for index in indices} == set(groups[other][0])


@pytest.mark.parametrize("num_points", [19, 68, 98, 106])
def test_five_points_and_normalisers_mirror_onto_themselves(num_points):
    mirror = {a: b for pair in LANDMARK_MIRROR_PAIRS[num_points] for a, b in (pair, pair[::-1])}
    five = [{mirror.get(index, index) for index in group} for group in FIVE_FROM_LANDMARKS[num_points]]
    order = [1, 0, 2, 4, 3]
    assert five == [set(FIVE_FROM_LANDMARKS[num_points][i]) for i in order]
    for left, right in NORMALISERS[num_points].values():
        assert {mirror[index] for index in left} == set(right)


def test_palettes_tell_classes_apart():
    for palette in (LAPA_PALETTE, CELEBAMASK_PALETTE, palette_for(["background", *"abcdefgh"])):
        assert len(set(palette)) == len(palette)
        assert palette[0] == (0, 0, 0)
    assert palette_for(LAPA_LABELS) == LAPA_PALETTE
    assert palette_for(CELEBAMASK_LABELS) == CELEBAMASK_PALETTE
