"""Tokenizer of FaRL's text encoder: CLIP's byte-pair encoding, with the clean-up of text that CLIP was trained on.

Source: openai/CLIP `clip/simple_tokenizer.py`, lines 50-127 (MIT). FaRL's weights are used with it (FaRL's README,
lines 33-58).
"""

import html
import re
import unicodedata
from typing import Any

from tokenizers import Regex, normalizers, pre_tokenizers
from transformers import BatchEncoding, CLIPTokenizer

from .processor_push_farl import ProcessorPushedWithCode

try:
    import ftfy
except ImportError:
    ftfy = None  # type: ignore[assignment]  # an optional package

# What the package regex, which splits words in openai/CLIP (line 78) and open_clip, takes for letters and numbers but
# the engine of `tokenizers` does not: all that Unicode gained after version 16. Hexadecimal.
_NEW_LETTERS = """
558 58b-58c 88f c5c cdc 208f 209d-209f a7ce-a7cf a7d2 a7d4 a7dd a7e2 a7f1 ab6c-ab6d 107bb-107bf
10940-10959 10ec5-10ec7 10ed9-10eee 11b0a 11db0-11ddb 11df1 16ea0-16eb8 16ebb-16ed3 16ff2-16ff3 187f8-187ff 18cd6-18cda
18d09-18d20 18d80-18df2 18e00-19191 191a0-191d2 1b123-1b128 1b168 1d6a6 1df1f-1df24 1df2b-1df81 1df90-1df96
1dfcd-1dfff 1e6c0-1e6de 1e6e0-1e6e2 1e6e4-1e6e5 1e6e7-1e6ed 1e6f0-1e6f4 1e6fe-1e6ff 2b73a-2b73f 2b81e
2cea2-2cead 323b0-33479 3d000-3fc3f
"""
_NEW_NUMBERS = "11de0-11de9 1246f 12475-1247f 12550-12686 16ff4-16ff6"


def _word_pattern():
    """Return a pattern: contractions, runs of letters, single digits, runs of anything else but blanks and U+0345.

    Contractions match in any case ('ſ folds to 's). U+0345 is no part of any word: where case is ignored and letters
    are excluded, the package regex takes that mark for a letter.
    """
    letters, numbers = (
        kind + "".join("-".join(rf"\x{{{code}}}" for code in codes.split("-")) for codes in new.split())
        for kind, new in ((r"\p{L}", _NEW_LETTERS), (r"\p{N}", _NEW_NUMBERS))
    )
    special = r"<\|startoftext\|>|<\|endoftext\|>"
    return rf"{special}|(?i:'s|'t|'re|'ve|'m|'ll|'d)|[{letters}]+|[{numbers}]|[^\s{letters}{numbers}\x{{345}}]+"


def word_splitter() -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer that splits a cleaned text into words as openai/CLIP does."""
    return pre_tokenizers.Split(Regex(_word_pattern()), behavior="removed", invert=True)


def _without_ftfy():
    """Return a table, for `str.translate`, of what ftfy does to a text that was decoded correctly."""
    same = [0x132, 0x133, 0x149, *range(0x1C4, 0x1CD), *range(0x1F1, 0x1F4), *range(0xFB00, 0xFB07)]  # ligatures
    same += [0x3000, *range(0xFF01, 0xFFF0)]  # full and half width
    table = {code: unicodedata.normalize("NFKC", chr(code)) for code in same}
    table |= dict.fromkeys([0x2BC, *range(0x2018, 0x201C)], "'") | dict.fromkeys(range(0x201C, 0x2020), '"')
    controls = [*range(0x09), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF, *range(0xFFF9, 0xFFFD)]
    return table | dict.fromkeys(controls)


_WITHOUT_FTFY = _without_ftfy()


def clean_text(text: str) -> str:
    """Mend encoding and quotes, resolve HTML entities, one blank between words, lower case."""
    if ftfy is not None:
        text = ftfy.fix_text(text)
    else:
        # A lone surrogate, which no tokenizer takes, becomes the replacement character.
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        text = text if "<" in text else html.unescape(text)  # before composing: "e&#769;" is an "é"
        text = unicodedata.normalize("NFC", text.translate(_WITHOUT_FTFY))
    return " ".join(html.unescape(html.unescape(text)).split()).lower()


def _clean_around(text: str, kept: re.Pattern[str] | None) -> str:
    """Clean a text except for the words that a pattern matches; blanks around these words stay."""
    if kept is None:
        return clean_text(text)
    parts = kept.split(text)  # between words, and at odd places the words
    for index in range(0, len(parts), 2):
        part = parts[index]
        blanks = [" " if edge.isspace() else "" for edge in (part[:1], part[-1:])]
        parts[index] = clean_text(part).join(blanks) if part.strip() else blanks[0]
    return "".join(parts).strip()


def _clean_nested(text, kept):
    if isinstance(text, (list, tuple)):
        return type(text)(_clean_nested(item, kept) for item in text)
    return _clean_around(text, kept) if isinstance(text, str) else text


class FaRLTokenizer(ProcessorPushedWithCode, CLIPTokenizer):
    """CLIP's byte-pair encoding: 49,408 entries, 77 tokens, lower-cased, between a start and an end token.

    Token ids are those of openai/CLIP and open_clip. Padding is the end token, as in Transformers' CLIP, and masked;
    the text encoder reads the first end token. Differences to [`CLIPTokenizer`]: texts longer than 77 tokens are
    truncated unless `truncation=False`, with the end token kept; and texts are cleaned as CLIP's own tokenizer cleans
    them. That uses the package ftfy where it is installed. Without it quotes, ligatures, character widths and control
    characters are mended too, but not text that was decoded with the wrong encoding, such as `"cafÃ©"`.

    Offsets refer to the cleaned text. Added tokens (`add_tokens`) are found as they are written, also with capitals.
    The special tokens, written out in a text, are taken for special tokens.

    Args:
        vocab (`dict[str, int]`, *optional*): Token to id.
        merges (`list[tuple[str, str]]`, *optional*): Pairs in the order in which they merge.
        model_max_length (`int`, *optional*, defaults to 77): Longest text in tokens, start and end token included.

    Raises:
        ValueError: If there is no vocabulary.

    Example:
        >>> from farl_hf import FaRLTokenizer
        >>> tokenizer = FaRLTokenizer.from_pretrained("my_farl")  # doctest: +SKIP
        >>> tokenizer("a smiling face")["input_ids"]  # doctest: +SKIP
        [49406, 320, 9200, 1710, 49407]
    """

    def __init__(
        self,
        vocab: dict[str, int] | None = None,
        merges: Any = None,
        model_max_length: int = 77,
        **kwargs: Any,
    ):
        if vocab is None and not any(kwargs.get(source) for source in ("tokenizer_file", "tokenizer_object")):
            # As from_pretrained of a folder without tokenizer.json; Transformers' CLIP would go on with three tokens.
            raise ValueError(
                "FaRLTokenizer got no vocabulary; load a checkpoint with both encoders, which has a tokenizer.json."
            )
        super().__init__(vocab=vocab, merges=merges, model_max_length=model_max_length, **kwargs)
        self.backend_tokenizer.normalizer = None  # `_encode_plus` does it; engine and Python disagree on some capitals
        self.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [word_splitter(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
        )

    def __call__(self, *args: Any, **kwargs: Any) -> BatchEncoding:
        """Tokenize texts; as in [`PreTrainedTokenizerBase`], but truncating unless told otherwise."""
        kwargs.setdefault("truncation", True)
        return super().__call__(*args, **kwargs)

    def encode(self, *args: Any, **kwargs: Any) -> list[int]:
        """Token ids of one text; truncating unless told otherwise, as a call."""
        kwargs.setdefault("truncation", True)
        return super().encode(*args, **kwargs)

    def _encode_plus(self, text, text_pair=None, **kwargs):  # type: ignore[override]  # passes all others on
        kept = self._words_that_cleaning_would_change()
        return super()._encode_plus(_clean_nested(text, kept), text_pair=_clean_nested(text_pair, kept), **kwargs)

    def _words_that_cleaning_would_change(self):
        """Return a pattern of the added tokens that could not be found in a cleaned text, or None."""
        added = {token.content for token in self.added_tokens_decoder.values()}
        words = sorted((word for word in added if clean_text(word) != word), key=len, reverse=True)
        return re.compile(f"({'|'.join(map(re.escape, words))})") if words else None

    def _decode(self, *args, **kwargs):
        # In Transformers' CLIP a wrapper around the engine does this, which copying and pickling lose.
        return super()._decode(*args, **kwargs).replace("</w>", " ").strip()

    def _save_pretrained(self, *args, **kwargs):
        # Other programs read tokenizer.json without this class; for them it names the cleaning of Transformers' CLIP.
        self.backend_tokenizer.normalizer = normalizers.Sequence(
            [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
        )
        try:
            return super()._save_pretrained(*args, **kwargs)
        finally:
            self.backend_tokenizer.normalizer = None
