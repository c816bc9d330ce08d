import pytest

from farl_hf.data.samples.face_samples import few_shot_subset
from farl_hf.errors import InvalidArgumentError


def test_the_official_faces_are_chosen_and_repeated():
    # py-blueprint 0.0.1.post3, BlueprintDataProcessor(random_ratio=0.25) over ten items.
    assert few_shot_subset(range(10), 0.25) == [8, 7, 8, 7, 8, 7, 8, 7, 8, 7]
    assert few_shot_subset("abcdefghij", 0.25) == list("ih" * 5)


def test_the_whole_is_a_permutation_and_parts_are_nested():
    whole = few_shot_subset(range(100), 1.0)
    assert sorted(whole) == list(range(100))
    assert few_shot_subset(range(100), 0.1) == whole[:10] * 10
    assert few_shot_subset(range(100), 0.3)[:30] == whole[:30]


@pytest.mark.parametrize("ratio", [0.0, -0.5, 0.001, 1.5])
def test_parts_that_keep_nothing_are_refused(ratio):
    with pytest.raises(InvalidArgumentError, match="keeps"):
        few_shot_subset(range(10), ratio)
