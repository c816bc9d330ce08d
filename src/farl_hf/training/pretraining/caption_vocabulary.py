"""A small byte-pair vocabulary learned from captions, for text encoders too small for CLIP's 49,408 entries."""

import json
from collections.abc import Iterable

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from farl_hf.errors import InvalidArgumentError
from farl_hf.processing.tokenization_farl import FaRLTokenizer, clean_text, word_splitter

__all__ = ["train_caption_tokenizer"]

SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")
END_OF_WORD = "</w>"


def train_caption_tokenizer(captions: Iterable[str], vocab_size: int, model_max_length: int = 77) -> FaRLTokenizer:
    """A tokenizer like CLIP's whose merges were learned from these captions.

    Entries are in CLIP's order: 256 byte symbols, the same as ends of words, the merges, then the start and the end
    token. Any text can be encoded; words that no caption contained take more tokens.

    Args:
        captions (`Iterable[str]`): Texts to learn from.
        vocab_size (`int`): Entries at most; fewer when the captions hold fewer pairs worth merging.
        model_max_length (`int`, *optional*, defaults to 77): Longest text in tokens.

    Raises:
        InvalidArgumentError: `vocab_size` leaves no room for a merge.
    """
    symbols = list(bytes_to_unicode().values())
    symbols += [symbol + END_OF_WORD for symbol in symbols]
    num_merges = vocab_size - len(symbols) - len(SPECIAL_TOKENS)
    if num_merges < 1:
        raise InvalidArgumentError(
            f"A vocabulary of {vocab_size} entries leaves no room for merges; "
            f"choose more than {vocab_size - num_merges}."
        )
    merges = learned_merges(captions, len(symbols) + num_merges)[:num_merges]
    tokens = [*symbols, *("".join(pair) for pair in merges), *SPECIAL_TOKENS]
    vocab = {token: index for index, token in enumerate(tokens)}
    return FaRLTokenizer(vocab=vocab, merges=merges, model_max_length=model_max_length)


def learned_merges(captions: Iterable[str], vocab_size: int) -> list[tuple[str, str]]:
    """Pairs of symbols in the order in which they were merged."""
    engine = Tokenizer(models.BPE(end_of_word_suffix=END_OF_WORD))
    engine.pre_tokenizer = pre_tokenizers.Sequence(
        [word_splitter(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        end_of_word_suffix=END_OF_WORD,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    engine.train_from_iterator((clean_text(caption) for caption in captions), trainer)
    merges = json.loads(engine.to_str())["model"]["merges"]
    return [(left, right) for left, right in merges]
