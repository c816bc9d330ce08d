"""Zero-shot scores during pre-training: retrieval among captions, attributes from sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from farl_hf.labels import CELEBA_ATTRIBUTES
from farl_hf.labels.attributes import ATTRIBUTE_PROMPTS, PROMPT_WRAPPERS


def recall_at(similarities: np.ndarray, ranks: tuple[int, ...] = (1, 5, 10)) -> dict[int, float]:
    """Share of rows whose own column (the diagonal) is among the `rank` most similar ones.

    Columns that tie with the own one count as more similar: a model that gives one answer for everything scores 0.

    Args:
        similarities (`np.ndarray` of shape `(n, n)`): Row i belongs to column i.
        ranks (`tuple[int, ...]`, *optional*): Which recalls.
    """
    own = np.diagonal(similarities)[:, None]
    better = (similarities >= own).sum(1) - 1
    return {rank: float((better < rank).mean()) for rank in ranks}


def mean_recalls(image_embeds: np.ndarray, text_embeds: np.ndarray, gallery_size: int) -> dict[str, float]:
    """Recalls in both directions, averaged over galleries of consecutive pairs; an incomplete last one is skipped."""
    count = len(image_embeds)
    size = min(gallery_size, count)
    starts = range(0, count - size + 1, size)
    totals: dict[str, list[float]] = {}
    for start in starts:
        similarities = text_embeds[start : start + size] @ image_embeds[start : start + size].T
        for name, matrix in (("text_to_image", similarities), ("image_to_text", similarities.T)):
            for rank, value in recall_at(matrix).items():
                totals.setdefault(f"{name}_recall_at_{rank}", []).append(value)
    return {name: float(np.mean(values)) for name, values in totals.items()} | {"gallery_size": size}


def zero_shot_scores(
    image_embeds: np.ndarray, attributes: np.ndarray, prompt_embeds: dict[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, float]:
    """Accuracy and balanced accuracy of each attribute, predicted by the most similar sentence.

    Args:
        image_embeds (`np.ndarray` of shape `(n, P)`): Unit-length image features.
        attributes (`np.ndarray` of shape `(n, 40)`): 1, 0, or negative where unknown; CelebA's order.
        prompt_embeds (`dict[str, tuple]`): Per attribute the unit-length features `(sentences, P)` of sentences for it
            and against it.
    """
    scores: dict[str, float] = {}
    for name, (has, lacks) in prompt_embeds.items():
        truth = attributes[:, CELEBA_ATTRIBUTES.index(name)]
        known = truth >= 0
        if not known.any():
            continue
        nearest_has, nearest_lacks = (image_embeds[known] @ sentences.T for sentences in (has, lacks))
        predicted, truth = nearest_has.max(1) > nearest_lacks.max(1), truth[known].astype(bool)
        right = predicted == truth
        by_class = [right[truth == value].mean() for value in (False, True) if (truth == value).any()]
        scores[f"zero_shot_accuracy_{name}"] = float(right.mean())
        scores[f"zero_shot_balanced_accuracy_{name}"] = float(np.mean(by_class))
    return scores


@dataclass
class RetrievalEvaluation:
    """Scores of image-text pairs; `compute_metrics` of the pre-training.

    Args:
        tokenizer ([`FaRLTokenizer`]): Of the text encoder.
        gallery_size (`int`, *optional*, defaults to 256): Number of pairs among which retrieval searches for one.
    """

    tokenizer: Any
    gallery_size: int = 256

    @torch.no_grad()
    def prompt_embeds(self, model: nn.Module) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Features (sentences, P) of the sentences for and against every attribute, each the mean over wrappers."""
        return {
            name: (self.sentence_embeds(model, has), self.sentence_embeds(model, lacks))
            for name, (has, lacks) in ATTRIBUTE_PROMPTS.items()
        }

    def sentence_embeds(self, model: nn.Module, sentences: Sequence[str]) -> np.ndarray:
        """Features (sentences, P), each the mean over all wrappers."""
        return np.stack([self.mean_embedding(model, sentence) for sentence in sentences])

    def mean_embedding(self, model: Any, sentence: str) -> np.ndarray:
        """Unit-length mean (P,) of a sentence's features in all wrappers."""
        texts = [wrapper.format(sentence) for wrapper in PROMPT_WRAPPERS]
        batch = self.tokenizer(texts, padding=True, return_tensors="pt").to(next(model.parameters()).device)
        embeds = model.get_text_features(**batch).pooler_output.float()
        mean = nn.functional.normalize(embeds, dim=-1).mean(0)
        return nn.functional.normalize(mean, dim=-1).cpu().numpy()

    def scores(
        self,
        image_embeds: np.ndarray,
        text_embeds: np.ndarray,
        attributes: np.ndarray,
        prompt_embeds: dict[str, tuple[np.ndarray, np.ndarray]],
    ) -> dict[str, float]:
        """Recalls, and zero-shot scores of the attributes that the data labels."""
        scores = mean_recalls(image_embeds, text_embeds, self.gallery_size)
        if attributes.shape[1] == len(CELEBA_ATTRIBUTES):
            scores |= zero_shot_scores(image_embeds, attributes, prompt_embeds)
        return scores
