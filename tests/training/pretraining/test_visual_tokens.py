"""Visual tokens: DALL-E's encoder as FLAVA runs it, and centres of patches that are learned on the spot."""

import json

import numpy as np
import pytest
import torch
from dalle_encoder import encode, spread_tokens
from scipy.spatial.distance import cdist
from transformers import FlavaImageCodebook, FlavaImageCodebookConfig
from transformers.models.flava.image_processing_flava import FlavaImageProcessor

from farl_hf.errors import InvalidArgumentError, InvalidFaceInputError, NotACheckpointError
from farl_hf.training.pretraining.visual_tokens import (
    FlavaVisualTokenizer,
    PatchKMeansTokenizer,
    load_visual_tokenizer,
)

CODEBOOK = {"hidden_size": 8, "vocab_size": 32, "num_blocks_per_group": 1}


@pytest.fixture
def codebook():
    torch.manual_seed(0)
    model = FlavaImageCodebook(FlavaImageCodebookConfig(**CODEBOOK))
    with torch.no_grad():
        for parameter in model.parameters():  # at the initial values one token would win everywhere
            parameter.normal_(std=0.2)
    return model


@pytest.fixture
def crops():
    return torch.rand(12, 3, 56, 56)


def test_dalle_tokens_are_those_of_flava(codebook):
    picture = np.random.default_rng(0).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    prepared = FlavaImageProcessor()(picture, return_codebook_pixels=True, return_tensors="pt")
    expected = codebook.get_codebook_indices(prepared["codebook_pixel_values"])
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    tokens = FlavaVisualTokenizer(codebook)(pixels)
    assert tokens.shape == (1, 14, 14)
    assert tokens.dtype == torch.int64
    assert tokens.unique().numel() > 3
    assert torch.equal(tokens, expected)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(FlavaVisualTokenizer(codebook)(pixels), expected)


def test_dalle_tokens_are_those_of_an_independent_encoder():
    """With weights that give more than 500 of the 8,192 tokens: a wrong layer would change most of them."""
    torch.manual_seed(0)
    codebook = FlavaImageCodebook(FlavaImageCodebookConfig(hidden_size=32, vocab_size=8192))
    pictures = torch.rand(8, 3, 112, 112)
    mapped = 0.8 * pictures + 0.1  # DALL-E's map_pixels, dall_e/utils.py
    spread_tokens(codebook, mapped)
    tokens = FlavaVisualTokenizer(codebook)(pictures)
    scores = encode(codebook.state_dict(), mapped)
    assert tokens.unique().numel() >= 500
    differing = tokens != scores.argmax(dim=1)
    best = scores.topk(2, dim=1).values
    assert not (differing & (best[:, 0] - best[:, 1] > 1e-4)).any()  # a tie may fall either way
    assert differing.float().mean() < 1e-3


def test_dalle_weights_load_from_a_folder_and_do_not_train(codebook, crops, tmp_path):
    codebook.save_pretrained(tmp_path)
    tokenizer = load_visual_tokenizer(tmp_path)
    assert isinstance(tokenizer, FlavaVisualTokenizer)
    assert (tokenizer.vocab_size, tokenizer.stride) == (32, 8)
    assert torch.equal(tokenizer(crops), FlavaVisualTokenizer(codebook)(crops))
    assert not any(parameter.requires_grad for parameter in tokenizer.codebook.parameters())
    assert not isinstance(tokenizer, torch.nn.Module)


def test_every_patch_gets_its_nearest_centre(crops):
    tokenizer = PatchKMeansTokenizer.train(crops, vocab_size=16)
    tokens = tokenizer(crops)
    assert tokens.shape == (12, 7, 7)
    assert tokens.dtype == torch.int64
    corner = crops[3, :, 16:24, 40:48].reshape(1, -1)
    assert tokens[3, 2, 5] == cdist(corner, tokenizer.centres).argmin()
    patches = crops.reshape(12, 3, 7, 8, 7, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 192)
    assert np.array_equal(tokens.flatten(), cdist(patches, tokenizer.centres).argmin(axis=1))


def test_centres_find_what_the_patches_show():
    """Four plain colours, a little noise: each colour is one token."""
    colours = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.9, 0.1], [0.1, 0.1, 0.9], [0.5, 0.5, 0.5]])
    which = torch.randint(4, (20, 4, 4))
    crops = colours[which].permute(0, 3, 1, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    tokens = PatchKMeansTokenizer.train(crops + 0.05 * torch.rand_like(crops), vocab_size=4)(crops)
    pairs = set(zip(which.flatten().tolist(), tokens.flatten().tolist(), strict=True))
    assert len(pairs) == 4


def test_learning_is_repeatable(crops):
    first, second, other = (PatchKMeansTokenizer.train(crops, 8, seed=seed).centres for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_learned_tokenizer_is_saved_and_loaded(crops, tmp_path):
    tokenizer = PatchKMeansTokenizer.train(crops, vocab_size=16)
    tokenizer.save_pretrained(tmp_path / "tokens")
    assert sorted(path.name for path in (tmp_path / "tokens").iterdir()) == [
        "visual_tokenizer.json",
        "visual_tokenizer.safetensors",
    ]
    loaded = load_visual_tokenizer(tmp_path / "tokens")
    assert isinstance(loaded, PatchKMeansTokenizer)
    assert (loaded.vocab_size, loaded.stride) == (16, 8)
    assert torch.equal(loaded.centres, tokenizer.centres)
    assert torch.equal(loaded(crops), tokenizer(crops))


@pytest.mark.parametrize("damage", ["weights cut", "weights missing", "other type", "other stride", "no json"])
def test_damaged_tokenizers_are_refused(crops, tmp_path, damage):
    PatchKMeansTokenizer.train(crops, vocab_size=4).save_pretrained(tmp_path)
    weights, settings = tmp_path / "visual_tokenizer.safetensors", tmp_path / "visual_tokenizer.json"
    if damage == "weights cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "weights missing":
        weights.unlink()
    elif damage == "no json":
        settings.write_text("{")
    else:
        changed = {"type": "lookup", "stride": 8} if damage == "other type" else {"type": "patch_kmeans", "stride": 7}
        settings.write_text(json.dumps(changed))
    with pytest.raises(NotACheckpointError, match="holds no usable visual tokenizer"):
        load_visual_tokenizer(tmp_path)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(NotACheckpointError, match=r"could not be loaded.*learn a tokenizer"):
        load_visual_tokenizer(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (torch.rand(2, 3, 60, 56), r"\(2, 3, 60, 56\), expected .*multiples of 8"),
        (torch.rand(3, 56, 56), r"\(3, 56, 56\), expected"),
        (torch.randn(2, 3, 56, 56), r"expected 0 \.\. 1"),
    ],
)
def test_wrong_pixels_are_refused(codebook, crops, wrong, message):
    for tokenizer in (FlavaVisualTokenizer(codebook), PatchKMeansTokenizer(torch.rand(4, 192), 8)):
        with pytest.raises(InvalidFaceInputError, match=message):
            tokenizer(wrong)


def test_too_few_patches_are_refused():
    with pytest.raises(InvalidArgumentError, match=r"4 patches cannot give 5"):
        PatchKMeansTokenizer.train(torch.rand(1, 3, 16, 16), vocab_size=5)
