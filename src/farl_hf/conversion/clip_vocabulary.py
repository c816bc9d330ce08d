"""Local CLIP files: the vocabulary, made into a tokenizer, and the folder of a checkpoint of Transformers' CLIP.

The vocabulary comes from a local folder or from the package open_clip, whose file is found without importing the
package: that takes seconds.

Format of `bpe_simple_vocab_16e6.txt.gz` (openai/CLIP `clip/simple_tokenizer.py`): a line of version, then one merge
of two symbols per line, of which CLIP uses the first 48,894. Ids are implied: 256 byte symbols, the same as ends of
words, the merges in order, then the start and the end token.
"""

import gzip
import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers.convert_slow_tokenizer import bytes_to_unicode

from farl_hf.conversion.torch_files import find_state_dict, load_pickled_tensors
from farl_hf.errors import ConversionError, MissingExtraError, NotACheckpointError
from farl_hf.processing import FaRLTokenizer

OPEN_CLIP_FILE = "bpe_simple_vocab_16e6.txt.gz"
VOCABULARY_SIZE = 49_408
_BYTES = 256
_SPECIAL_TOKENS = ("<|startoftext|>", "<|endoftext|>")
_NUM_MERGES = VOCABULARY_SIZE - 2 * _BYTES - len(_SPECIAL_TOKENS)

# The files of a checkpoint folder, those that are looked for first in front.
_VOCABULARY_FILES = ("tokenizer.json", "vocab.json")
_WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")


def open_clip_vocabulary_file() -> Path:
    """Where the package open_clip keeps CLIP's vocabulary.

    Raises:
        MissingExtraError: open_clip is not installed.
    """
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise MissingExtraError(
            "CLIP's vocabulary comes with the package open_clip, which is not installed; run "
            "`pip install 'farl-hf[convert]'` or give a local CLIP folder."
        )
    return Path(package.origin).with_name(OPEN_CLIP_FILE)


def make_clip_tokenizer(source: Path | None = None) -> FaRLTokenizer:
    """The tokenizer of the text encoder.

    Args:
        source (`Path`, *optional*): A folder of a CLIP checkpoint, with `tokenizer.json` or `vocab.json` and
            `merges.txt`; or a file `bpe_simple_vocab_16e6.txt.gz`. The file in the package open_clip by default.

    Returns:
        `FaRLTokenizer`: Ready to be saved.

    Raises:
        MissingExtraError: If no source is given and open_clip is not installed.
        NotACheckpointError: If the source does not hold CLIP's vocabulary.
    """
    source = open_clip_vocabulary_file() if source is None else Path(source)
    try:
        vocab, merges = _read_folder(source) if source.is_dir() else _read_merges_file(source)
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise NotACheckpointError(
            f"{source} holds no vocabulary that can be read ({error}); give a CLIP folder with tokenizer.json or with "
            f"vocab.json and merges.txt, or a file {OPEN_CLIP_FILE}."
        ) from error
    _require_clip(source, vocab, merges)
    return FaRLTokenizer(vocab=vocab, merges=merges)


def _read_merges_file(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    merges = [_pair(line) for line in lines[1 : 1 + _NUM_MERGES]]
    byte_symbols = list(bytes_to_unicode().values())
    ends = [f"{symbol}</w>" for symbol in byte_symbols]
    merged = [first + second for first, second in merges]
    return {token: index for index, token in enumerate([*byte_symbols, *ends, *merged, *_SPECIAL_TOKENS])}, merges


def _read_folder(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    if (folder / "tokenizer.json").is_file():
        model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
        return model["vocab"], [_pair(merge) for merge in model["merges"]]
    vocab = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    return vocab, [_pair(line) for line in lines if line and not line.startswith("#version")]


def _pair(merge: str | list[str]) -> tuple[str, str]:
    first, second = merge.split() if isinstance(merge, str) else merge
    return first, second


def _require_clip(source: Path, vocab: dict[str, int], merges: list[tuple[str, str]]) -> None:
    last_two = tuple(vocab.get(token) for token in _SPECIAL_TOKENS)
    if len(vocab) == VOCABULARY_SIZE and len(merges) == _NUM_MERGES and last_two == (49_406, 49_407):
        return
    raise NotACheckpointError(
        f"{source} holds {len(vocab):,} tokens and {len(merges):,} merges; CLIP's vocabulary has {VOCABULARY_SIZE:,} "
        f"and {_NUM_MERGES:,} and ends with {' and '.join(_SPECIAL_TOKENS)}. Give an OpenAI CLIP tokenizer."
    )


def weights_file(folder: Path) -> Path:
    """The file that holds the weights of a checkpoint folder; safetensors first.

    Raises:
        ConversionError: There is none.
    """
    for name in _WEIGHTS_FILES:
        if (folder / name).is_file():
            return folder / name
    raise ConversionError(
        f"{folder} holds neither {' nor '.join(_WEIGHTS_FILES)}; give a file, or the folder of a CLIP checkpoint."
    )


def has_vocabulary(source: Path) -> bool:
    """Whether a source is a folder that brings its tokenizer along."""
    return any((source / name).is_file() for name in _VOCABULARY_FILES)


def read_clip_folder(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """
    Weights and configuration of a CLIP checkpoint folder.

    Raises:
        ConversionError: A file is missing or damaged, or the folder holds another kind of model.
    """
    path = weights_file(folder)
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConversionError(f"{folder / 'config.json'} is missing or cannot be read ({error}).") from error
    model_type = settings.get("model_type") if isinstance(settings, dict) else None
    if model_type != "clip":
        raise ConversionError(f"{folder} holds a model of type {str(model_type)[:100]!r}, expected 'clip'.")
    if path.suffix == ".bin":
        return find_state_dict(load_pickled_tensors(path, path.name), path.name)[0], settings
    return read_safetensors(path), settings


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """
    The tensors of a safetensors file.

    Raises:
        ConversionError: It is damaged.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConversionError(f"{path} is damaged ({error}); download it again.") from error
