"""Batches of similar captions: a division of all rows, alike within, another one in every epoch."""

from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import jaccard_score

from farl_hf.data.similar_captions import SimilarCaptionSampler
from farl_hf.errors import InvalidFaceInputError

WORDS = {
    "who": ("man", "woman"),
    "hair": ("black hair", "brown hair", "blond hair", "gray hair"),
    "worn": ("a hat", "glasses", "a tie", "a suit"),
    "mood": ("smiling", "sad", "looking up", "looking down"),
}
BATCH = 16


@pytest.fixture
def captions():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(words) for words in WORDS.values()) for _ in range(1000)]


def order(captions, share=1.0, epoch=0, seed=0):
    pairs = SimpleNamespace(captions=lambda: iter(captions), epoch=epoch)
    return list(SimilarCaptionSampler(pairs, BATCH, share, seed))


def likeness(captions, rows):
    """Mean share of words that neighbours of a batch have in common, per batch (scikit-learn's Jaccard index)."""
    words = sorted({word for caption in captions for word in caption.split()})
    table = np.array([[word in caption.split() for word in words] for caption in captions])
    batches = np.array(rows[: len(rows) // BATCH * BATCH]).reshape(-1, BATCH)
    return np.array([np.mean([jaccard_score(table[a], table[b]) for a, b in pairwise(batch)]) for batch in batches])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_row_comes_once(captions, share):
    assert sorted(order(captions, share)) == list(range(len(captions)))


def test_captions_of_a_batch_are_alike(captions):
    random = likeness(captions, order(captions, 0.0))
    similar = likeness(captions, order(captions, 1.0))
    assert similar.mean() > 1.5 * random.mean()
    assert np.mean(similar > np.quantile(random, 0.95)) > 0.9


def test_the_share_of_such_batches_is_kept(captions):
    similar = likeness(captions, order(captions, 0.5))
    most_by_chance = np.quantile(likeness(captions, order(captions, 0.0)), 0.95)
    assert np.mean(similar > most_by_chance) == pytest.approx(0.5, abs=0.08)


def test_epochs_and_seeds_differ_and_repeat(captions):
    first = order(captions)
    assert order(captions) == first
    assert order(captions, epoch=1) != first
    assert order(captions, seed=1) != first


def test_captions_that_are_all_the_same_are_divided_too():
    assert sorted(order(["a face"] * 100)) == list(range(100))


def test_fewer_captions_than_a_batch():
    assert sorted(order(["a man", "a woman"])) == [0, 1]


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_the_share_is_checked(captions, share):
    with pytest.raises(InvalidFaceInputError, match="share of batches"):
        order(captions, share)
