"""Cuts long captions to a few of their phrases.

A caption that lists ten things is told from others by its two easiest ones, and the rest is never learned. Training on
parts of long captions is known from DreamLIP (Zheng et al., ECCV 2024), which takes single sentences; here captions
are one sentence, so that its phrases are taken.
"""

import re

import numpy as np

__all__ = ["some_phrases"]

MOST_PHRASES = 2
# Where a phrase begins: after a comma or a conjunction, or at a word that says how something belongs to the face.
_BOUNDARY = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+|\s+(?=(?:with|wearing|looking)\s)", re.IGNORECASE)


def some_phrases(caption: str, rng: np.random.Generator) -> str:
    """One or two phrases of a caption, in its order; all of it where it has one.

    Args:
        caption (`str`): Any text.
        rng (`numpy.random.Generator`): Chooses the phrases.

    Example:
        >>> import numpy as np
        >>> some_phrases("a man with a beard, brown hair and wearing a hat", np.random.default_rng(2))
        'a man wearing a hat'
    """
    phrases = [phrase for phrase in _BOUNDARY.split(caption) if phrase.strip()]
    count = int(rng.integers(1, MOST_PHRASES + 1))
    if len(phrases) <= count:
        return caption
    chosen = np.sort(rng.choice(len(phrases), count, replace=False))
    return " ".join(phrases[i] for i in chosen)
