"""Zero-shot scores, by hand-computed cases and against torchmetrics and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score
from torchmetrics.retrieval import RetrievalRecall

from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.labels.attributes import ATTRIBUTE_PROMPTS
from farl_hf.training.evaluation.retrieval import RetrievalEvaluation, mean_recalls, recall_at, zero_shot_scores


def unit_rows(count, size, seed):
    rows = np.random.default_rng(seed).normal(size=(count, size)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_recall_by_hand():
    similarities = np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 6.0], [0.0, 1.0, 2.0]])
    # Own columns 3 (first), 4 (third), 2 (first).
    assert recall_at(similarities, (1, 2, 3)) == pytest.approx({1: 2 / 3, 2: 2 / 3, 3: 1.0})


@pytest.mark.parametrize("rank", [1, 5])
def test_recall_equals_torchmetrics(rank):
    similarities = np.random.default_rng(0).normal(size=(20, 20)) + 0.8 * np.eye(20)
    metric = RetrievalRecall(top_k=rank)
    expected = metric(
        torch.tensor(similarities).flatten(),
        torch.eye(20, dtype=torch.bool).flatten(),
        indexes=torch.arange(20).repeat_interleave(20),
    )
    assert recall_at(similarities, (rank,))[rank] == pytest.approx(float(expected))


def test_a_model_that_says_the_same_of_everything_recalls_nothing():
    assert recall_at(np.ones((8, 8)))[1] == 0.0


def test_recalls_are_means_over_whole_galleries():
    images, texts = unit_rows(11, 6, 1), unit_rows(11, 6, 2)
    scores = mean_recalls(images, texts, gallery_size=4)
    by_hand = [recall_at(texts[start : start + 4] @ images[start : start + 4].T)[1] for start in (0, 4)]
    assert scores["text_to_image_recall_at_1"] == pytest.approx(np.mean(by_hand))
    assert scores["gallery_size"] == 4
    assert mean_recalls(images[:3], texts[:3], gallery_size=4)["gallery_size"] == 3


def test_zero_shot_scores_leave_out_the_unknown():
    truth = np.full((6, 40), -100)
    truth[:5, CELEBA_ATTRIBUTES.index("smiling")] = [1, 1, 1, 0, 0]
    images = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    scores = zero_shot_scores(
        images,
        truth,
        {
            # The second sentence for it is never nearest.
            "smiling": (np.array([[1, 0], [0.1, 0.2]]), np.array([[0, 1]])),
            "bald": (np.ones((1, 2)), np.zeros((1, 2))),
        },
    )
    predicted = [1, 0, 1, 0, 1]
    assert scores == pytest.approx(
        {
            "zero_shot_accuracy_smiling": 3 / 5,
            "zero_shot_balanced_accuracy_smiling": balanced_accuracy_score([1, 1, 1, 0, 0], predicted),
        }
    )


def test_every_prompt_is_of_a_celeba_attribute():
    assert set(ATTRIBUTE_PROMPTS) <= set(CELEBA_ATTRIBUTES)
    for has, lacks in ATTRIBUTE_PROMPTS.values():
        assert has
        assert lacks
        assert not set(has) & set(lacks)


def test_data_without_attributes_is_scored_by_retrieval_alone():
    evaluation = RetrievalEvaluation(tokenizer=None, gallery_size=4)
    scores = evaluation.scores(unit_rows(4, 6, 1), unit_rows(4, 6, 2), np.full((4, 1), -100), {})
    assert all("recall" in name or name == "gallery_size" for name in scores)
