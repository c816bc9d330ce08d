"""Short sentences around single words of captions, which patches are compared with in pre-training.

A word alone is no caption, and a heat map will be asked for by a sentence: "a person wearing a hat". Templates are
drawn anew for every batch, as prompts are averaged over at the end.
"""

import copy
from typing import Any

import torch

from farl_hf.labels.attribute_prompts import PROMPT_WRAPPERS
from farl_hf.training.caption_vocabulary import END_OF_WORD

__all__ = ["WordSentences"]

TEMPLATES = (
    *("{}", "a {} person", "a person with {}", "a person with a {}", "a person with an {}"),
    *("a person wearing {}", "a person wearing a {}"),
)
# What is said of hair is seldom said of a person, so that most of its sentences name the hair.
HAIR_TEMPLATE, HAIR_SHARE = "a person with {} hair", 0.6
HAIR_WORDS = frozenset(
    (
        *("black", "brown", "gray", "grey", "blond", "blonde", "red", "auburn", "dyed"),
        *("short", "long", "straight", "wavy", "curly"),
    )
)
# A word that most captions have says nothing of any.
LARGEST_SHARE = 0.6


class WordSentences:
    """Finds the words of a batch of captions and puts each into a sentence.

    Only entries of the vocabulary that are whole words are taken. Chance is PyTorch's, which a resumed run restores.

    Args:
        tokenizer ([`FaRLTokenizer`]): Of the captions.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = copy.deepcopy(tokenizer)  # padding is remembered, and would be saved with the model
        entries = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
        special = set(tokenizer.all_special_ids)
        self.words = {
            index: word
            for index, entry in enumerate(entries)
            if index not in special
            and entry.endswith(END_OF_WORD)
            and (word := entry.removesuffix(END_OF_WORD)).isalpha()
        }
        self.is_word = torch.zeros(len(tokenizer), dtype=torch.bool)
        self.is_word[list(self.words)] = True

    def __call__(self, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Words of the captions and sentences around them.

        Args:
            input_ids (`torch.Tensor` of shape `(B, T)`): Token ids of the captions.

        Returns:
            `dict[str, torch.Tensor]`: `word_ids` (A,), and `word_input_ids` and `word_attention_mask` (A, T); int64.
        """
        word_ids = self.asked(input_ids.cpu())
        sentences = [self.sentence(self.words[index]) for index in word_ids.tolist()]
        encoded = self.tokenizer(sentences or [""], padding=True, truncation=True, return_tensors="pt")
        ids, mask = (encoded[name][: len(word_ids)] for name in ("input_ids", "attention_mask"))
        named = {"word_ids": word_ids, "word_input_ids": ids, "word_attention_mask": mask}
        return {name: values.to(input_ids.device) for name, values in named.items()}

    def asked(self, input_ids: torch.Tensor) -> torch.Tensor:
        """The words (A,) that some captions have, and not most."""
        has = torch.zeros(len(input_ids), len(self.is_word), dtype=torch.bool).scatter_(1, input_ids, True)
        share = has.sum(dim=0) / len(input_ids)
        return ((share > 0) & (share < LARGEST_SHARE) & self.is_word).nonzero()[:, 0]

    def sentence(self, word: str) -> str:
        """A sentence that has the word, by chance."""
        about_hair = word in HAIR_WORDS and bool(torch.rand(()) < HAIR_SHARE)
        template = HAIR_TEMPLATE if about_hair else _any_of(TEMPLATES)
        return _any_of(PROMPT_WRAPPERS).format(template.format(word))


def _any_of(choices: tuple[str, ...]) -> str:
    return choices[int(torch.randint(len(choices), ()))]
