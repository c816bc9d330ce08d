"""Visual tokens, the targets of masked image modelling: from a crop's pixels to one token per patch.

A visual tokenizer is called with `codebook_pixel_values` (B, 3, h, w) in [0, 1] and returns int64 (B, h / s, w / s)
for its stride of s pixels per token. Both tokenizers here have a stride of 8: a crop of 112 pixels gives one token for
each patch of 16 pixels of the crop of 224. They are not modules, so optimizer, weight average and checkpoints of the
trained model do not contain them.
"""

import json
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.nn import functional

from farl_hf.errors import (
    InvalidArgumentError,
    InvalidFaceInputError,
    MissingExtraError,
    NotACheckpointError,
    in_short,
)
from farl_hf.training.runs import without_partitioning
from farl_hf.whole_files import write_json, written_whole

DALLE_CODEBOOK = "facebook/flava-image-codebook"
KMEANS_CONFIG, KMEANS_WEIGHTS = "visual_tokenizer.json", "visual_tokenizer.safetensors"
KMEANS_TYPE = "patch_kmeans"
LOGIT_LAPLACE_EPS = 0.1  # DALL-E maps pixels to [0.1, 0.9] first (openai/DALL-E `dall_e/utils.py`, lines 8 and 45-51)
MOST_TRAINING_PATCHES = 200_000
PATCHES_AT_ONCE = 16_384  # bounds the matrix of distances: half a gigabyte for 8,192 tokens


class VisualTokenizer(Protocol):
    """Gives the targets of masked patches."""

    vocab_size: int
    stride: int

    def __call__(self, codebook_pixel_values: torch.Tensor) -> torch.Tensor:
        """Visual tokens, int64 (B, h / stride, w / stride), of crops (B, 3, h, w) in [0, 1]."""


class FlavaVisualTokenizer:
    """The encoder of DALL-E's discrete VAE, as BEiT uses it, from Transformers' FLAVA.

    Sources: openai/DALL-E `dall_e/encoder.py`, lines 62-83; microsoft/unilm `beit/datasets.py`, lines 49-53.

    Args:
        codebook ([`~transformers.FlavaImageCodebook`]): The encoder; frozen, on the device of the pixels.
    """

    def __init__(self, codebook: Any):
        self.codebook = codebook.eval().requires_grad_(False)
        self.vocab_size = codebook.config.vocab_size
        self.stride = 2 ** (codebook.config.num_groups - 1)  # it halves the image after every group but the last

    @classmethod
    def from_pretrained(cls, name_or_path: str | os.PathLike = DALLE_CODEBOOK) -> "FlavaVisualTokenizer":
        """Loads the encoder from a folder, or by its name on the Hub."""
        from transformers import FlavaImageCodebook

        try:
            with without_partitioning():
                return cls(FlavaImageCodebook.from_pretrained(name_or_path, dtype=torch.float32))
        except (OSError, SafetensorError) as error:
            raise NotACheckpointError(
                f"{str(name_or_path)!r} could not be loaded as an image codebook of FLAVA ({in_short(error, 200)}); "
                f"give the name {DALLE_CODEBOOK}, a folder with its files, or learn a tokenizer from the data."
            ) from error

    @torch.no_grad()
    def __call__(self, codebook_pixel_values: torch.Tensor) -> torch.Tensor:
        """Visual tokens, int64 (B, h / 8, w / 8), of crops (B, 3, h, w) in [0, 1]."""
        _check_pixels(codebook_pixel_values, self.stride)
        device = codebook_pixel_values.device
        mapped = (1 - 2 * LOGIT_LAPLACE_EPS) * codebook_pixel_values.float() + LOGIT_LAPLACE_EPS
        with torch.autocast(device.type, enabled=False):  # in bfloat16 the best scores would tie
            return self.codebook.to(device).get_codebook_indices(mapped)


class PatchKMeansTokenizer:
    """Numbers each patch by the nearest of k centres. Learned in seconds, for runs without DALL-E's weights.

    Args:
        centres (`torch.FloatTensor` of shape `(k, 3 * stride * stride)`): Patches in [0, 1]: channel, row, column.
        stride (`int`): Side of a patch in pixels.
    """

    def __init__(self, centres: torch.Tensor, stride: int):
        self.centres, self.stride = centres.float(), stride
        self.vocab_size = centres.shape[0]

    @classmethod
    def train(
        cls, codebook_pixel_values: torch.Tensor, vocab_size: int, stride: int = 8, seed: int = 0
    ) -> "PatchKMeansTokenizer":
        """Learns the centres by mini-batch k-means.

        Args:
            codebook_pixel_values (`torch.FloatTensor` of shape `(n, 3, h, w)`): Crops in [0, 1].
            vocab_size (`int`): Number of visual tokens.
            stride (`int`, *optional*, defaults to 8): Pixels per token along a side.
            seed (`int`, *optional*, defaults to 0): Random seed; the same crops and seed give the same centres.

        Raises:
            InvalidArgumentError: The crops have fewer patches than there should be tokens.
            InvalidFaceInputError: The crops have another shape or range of values.
            MissingExtraError: scikit-learn is not installed.
        """
        try:
            from sklearn.cluster import MiniBatchKMeans
        except ImportError as error:
            raise MissingExtraError(
                'Learning visual tokens needs scikit-learn; install it with pip install "farl-hf[train]".'
            ) from error
        _check_pixels(codebook_pixel_values, stride)
        patches = _patches(codebook_pixel_values, stride).cpu().numpy()
        if len(patches) < vocab_size:
            raise InvalidArgumentError(
                f"{len(patches)} patches cannot give {vocab_size} visual tokens; pass more crops or choose fewer."
            )
        chosen = np.random.default_rng(seed).permutation(len(patches))[:MOST_TRAINING_PATCHES]
        kmeans = MiniBatchKMeans(vocab_size, batch_size=4096, n_init=1, random_state=seed).fit(patches[chosen])
        return cls(torch.from_numpy(kmeans.cluster_centers_), stride)

    @torch.no_grad()
    def __call__(self, codebook_pixel_values: torch.Tensor) -> torch.Tensor:
        """Visual tokens, int64 (B, h / stride, w / stride), of crops (B, 3, h, w) in [0, 1]."""
        _check_pixels(codebook_pixel_values, self.stride)
        batch, _, height, width = codebook_pixel_values.shape
        patches = _patches(codebook_pixel_values, self.stride)
        with torch.autocast(patches.device.type, enabled=False):
            self.centres = self.centres.to(patches.device)
            nearest = [self._nearest(some) for some in patches.split(PATCHES_AT_ONCE)]
        return torch.cat(nearest).reshape(batch, height // self.stride, width // self.stride)

    def _nearest(self, patches_NC: torch.Tensor) -> torch.Tensor:
        # The nearest centre; the square of the patch is the same for all centres and can be skipped.
        return (2 * patches_NC @ self.centres.T - self.centres.square().sum(dim=1)).argmax(dim=1)

    def save_pretrained(self, folder: str | os.PathLike) -> None:
        """Writes the centres, then the settings: a folder without settings does not count as a tokenizer."""
        folder = Path(folder)
        with written_whole(folder / KMEANS_WEIGHTS) as unfinished:
            save_file({"centres": self.centres.cpu().contiguous()}, unfinished)
        write_json(folder / KMEANS_CONFIG, {"type": KMEANS_TYPE, "stride": self.stride})

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike) -> "PatchKMeansTokenizer":
        """Loads a folder that `save_pretrained` wrote."""
        folder = Path(folder)
        try:
            settings = json.loads((folder / KMEANS_CONFIG).read_text())
            if settings["type"] != KMEANS_TYPE:
                raise ValueError(f"its type is {settings['type']!r}, expected {KMEANS_TYPE!r}")
            centres, stride = load_file(folder / KMEANS_WEIGHTS)["centres"], int(settings["stride"])
            if centres.ndim != 2 or centres.shape[1] != 3 * stride**2:
                raise ValueError(f"centres are {tuple(centres.shape)}, expected (tokens, {3 * stride**2})")
        except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
            raise NotACheckpointError(f"{folder} holds no usable visual tokenizer: {error}.") from error
        return cls(centres, stride)


def load_visual_tokenizer(name_or_path: str | os.PathLike = DALLE_CODEBOOK) -> VisualTokenizer:
    """Loads a visual tokenizer.

    Args:
        name_or_path (`str` or `os.PathLike`): A folder that [`PatchKMeansTokenizer`] has saved; or a folder or
            Hub name of an image codebook of FLAVA.

    Raises:
        NotACheckpointError: If there is no such tokenizer, or it is damaged.
    """
    if (Path(name_or_path) / KMEANS_CONFIG).is_file():
        return PatchKMeansTokenizer.from_pretrained(name_or_path)
    return FlavaVisualTokenizer.from_pretrained(name_or_path)


def _patches(pixel_values: torch.Tensor, stride: int) -> torch.Tensor:
    """Patches (B * h / s * w / s, 3 * s * s) of crops, row by row, in float32."""
    return functional.unfold(pixel_values.float(), stride, stride=stride).transpose(1, 2).flatten(0, 1)


def _check_pixels(pixel_values: torch.Tensor, stride: int) -> None:
    shape = tuple(pixel_values.shape)
    if len(shape) != 4 or shape[1] != 3 or shape[2] % stride or shape[3] % stride:
        raise InvalidFaceInputError(
            f"codebook_pixel_values are {shape}, expected (batch, 3, height, width) with sides that are multiples of "
            f"{stride}."
        )
    if shape[0] and not (pixel_values.min() >= -1e-3 and pixel_values.max() <= 1 + 1e-3):
        raise InvalidFaceInputError(
            f"codebook_pixel_values lie in {pixel_values.min():.2f} .. {pixel_values.max():.2f}, expected 0 .. 1: "
            "they are not normalised."
        )
