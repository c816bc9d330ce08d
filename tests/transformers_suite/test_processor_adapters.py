"""Processor and tokenizer under the common tests of Transformers."""

import json
import unittest
from functools import cache

from common_tests import ProcessorTesterMixin, TokenizerTesterMixin

from farl_hf import FaRLImageProcessor, FaRLProcessor, FaRLTokenizer
from farl_hf.conversion.clip_vocabulary import make_clip_tokenizer

BYTES, MERGES = 512, 1000  # entries of CLIP's vocabulary: bytes alone and at the end of a word, then one per merge


@cache
def small_vocabulary():
    """CLIP's first merges."""
    model = json.loads(make_clip_tokenizer().backend_tokenizer.to_str())["model"]
    vocab = {token: index for token, index in model["vocab"].items() if index < BYTES + MERGES}
    vocab |= {"<|startoftext|>": BYTES + MERGES, "<|endoftext|>": BYTES + MERGES + 1}
    return vocab, [tuple(pair) for pair in model["merges"][:MERGES]]


def small_tokenizer():
    vocab, merges = small_vocabulary()
    return FaRLTokenizer(vocab=dict(vocab), merges=list(merges))


class FaRLProcessorTest(ProcessorTesterMixin, unittest.TestCase):
    processor_class = FaRLProcessor

    @classmethod
    def _setup_image_processor(cls):
        return FaRLImageProcessor(size={"height": 20, "width": 18})

    @classmethod
    def _setup_tokenizer(cls):
        return small_tokenizer()


class FaRLTokenizerTest(TokenizerTesterMixin, unittest.TestCase):
    tokenizer_class = FaRLTokenizer

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        small_tokenizer().save_pretrained(cls.tmpdirname)
