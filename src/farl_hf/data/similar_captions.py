"""Batches in which captions are alike, so that contrast is about the words in which they differ.

In a batch drawn at random, hair and skin tell nearly every face from the others, and glasses or a smile never matter.
Batches of hard negatives are known for images and texts from NegCLIP (Yuksekgonul et al., ICLR 2023), which searches
nearest neighbours; here a tree of random cuts puts captions together that share many words. Not in the paper.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from farl_hf.errors import InvalidFaceInputError

__all__ = ["SimilarCaptionSampler", "groups_of_similar"]

_TOKEN = r"(?u)\b\w+\b"  # single letters are words too
_TIE_BREAK = 1e-3  # below any difference of two projections, which are whole numbers


def groups_of_similar(words: Any, group_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Divides texts into groups of one size in which they share words.

    Halves again and again what is still too large, each time along the words in which two texts of it differ.

    Args:
        words (`scipy.sparse.csr_matrix` of shape `(n, vocabulary)`): Which words are in which text; 0 or 1.
        group_size (`int`): Texts of a group; it must divide n.
        rng (`numpy.random.Generator`): Chooses the cuts.

    Returns:
        `list[np.ndarray]`: Row numbers of each group, in random order within it.
    """
    groups, waiting = [], [rng.permutation(words.shape[0])]
    while waiting:
        rows = waiting.pop()
        if len(rows) <= group_size:
            groups.append(rng.permutation(rows))
            continue
        one, other = rng.choice(rows, 2, replace=False)
        direction = (words[one] - words[other]).toarray()[0]
        projections = words[rows] @ direction + rng.uniform(0, _TIE_BREAK, len(rows))
        half = len(rows) // group_size // 2 * group_size or group_size
        ordered = rows[np.argsort(projections)]
        waiting += [ordered[:half], ordered[half:]]
    return groups


class SimilarCaptionSampler(Sampler[int]):
    """Row numbers in an order of which batches are consecutive parts, some of them of similar captions.

    Args:
        pairs ([`PretrainingPairs`]): Its `captions()` are compared; its `epoch` says which order is due.
        batch_size (`int`): Pairs that are contrasted with each other, over all processes.
        share (`float`): Part of the batches that hold similar captions; the others are drawn at random.
        seed (`int`, *optional*, defaults to 0): Source of chance, with the epoch.

    Raises:
        InvalidFaceInputError: `share` is not in [0, 1].
    """

    def __init__(self, pairs: Any, batch_size: int, share: float, seed: int = 0):
        if not 0 <= share <= 1:
            raise InvalidFaceInputError(f"similar_captions is {share}, but it is a share of batches; pass 0 to 1.")
        self.pairs, self.batch_size, self.share, self.seed = pairs, batch_size, share, seed
        from sklearn.feature_extraction.text import CountVectorizer  # slow to import, and few runs need it

        counts = CountVectorizer(binary=True, token_pattern=_TOKEN, dtype=np.int32)
        self.words = counts.fit_transform(pairs.captions())

    def __len__(self) -> int:
        return self.words.shape[0]

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng((self.seed, self.pairs.epoch))
        rows = rng.permutation(len(self))
        num_batches = len(rows) // self.batch_size
        cut = round(self.share * num_batches) * self.batch_size
        whole = num_batches * self.batch_size
        groups = [rows[:cut][group] for group in groups_of_similar(self.words[rows[:cut]], self.batch_size, rng)]
        groups += list(rows[cut:whole].reshape(-1, self.batch_size))
        for place in rng.permutation(len(groups)):
            yield from groups[place].tolist()
        yield from rows[whole:].tolist()  # less than a batch, which comes last
