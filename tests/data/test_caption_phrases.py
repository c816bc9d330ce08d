import numpy as np
import pytest

from farl_hf.data.caption_phrases import some_phrases
from farl_hf.data.face_renderer import render_face_photo

CAPTION = "a photo of a smiling man with long hair, a beard and freckles wearing glasses and a hat looking down"
PHRASES = [
    "a photo of a smiling man", "with long hair", "a beard", "freckles", "wearing glasses", "a hat", "looking down",
]  # fmt: skip


def test_every_choice_is_one_or_two_phrases_in_order_and_all_occur():
    expected = set(PHRASES) | {f"{a} {b}" for i, a in enumerate(PHRASES) for b in PHRASES[i + 1 :]}
    rng = np.random.default_rng(0)
    assert {some_phrases(CAPTION, rng) for _ in range(1500)} == expected


@pytest.mark.parametrize("caption", ["", "a face", "portrait of Sandy Anderson", " , and "])
def test_what_has_one_phrase_stays(caption):
    assert some_phrases(caption, np.random.default_rng(0)) == caption


def test_words_of_rendered_captions_are_kept_in_order():
    rng = np.random.default_rng(0)
    for index in range(5):
        caption = render_face_photo(index).caption
        words, position = caption.replace(",", "").split(), 0
        for word in some_phrases(caption, rng).split():
            position = words.index(word, position) + 1
