"""Encoders of other projects, random weights in their own formats, converted: equal to timm and to plain code."""

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch.nn import functional

from farl_hf import FaRLFeatureMaps, FaRLForFaceParsing, FaRLImageProcessor
from farl_hf.conversion import convert_checkpoint
from farl_hf.errors import ConversionError

SIZES = {"embed_dim": 128, "depth": 4, "num_heads": 2, "img_size": 32}
IMAGENET_MEAN = [0.485, 0.456, 0.406]


def make_timm(architecture, **settings):
    torch.manual_seed(0)
    model = timm.create_model(architecture, **SIZES, num_classes=7, **settings).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def converted(path, tmp_path):
    report = convert_checkpoint(path, tmp_path / "converted")
    assert report.model_class == "FaRLFeatureMaps"
    model, loading = FaRLFeatureMaps.from_pretrained(report.output, output_loading_info=True)
    assert not any(loading[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval(), FaRLImageProcessor.from_pretrained(report.output)


def assert_equal_to_timm(model, reference):
    images = torch.randn(2, 3, 32, 32)
    indices = sorted(set(model.config.feature_levels))
    expected = reference.forward_intermediates(images, indices=indices, intermediates_only=True)
    with torch.no_grad():
        for actual, wanted in zip(model.vision_model.feature_maps(images, indices), expected, strict=True):
            torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_timm_vit(suffix, tmp_path):
    reference, path = make_timm("vit_base_patch16_224"), tmp_path / f"vit.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(reference.state_dict(), path)
    model, processor = converted(path, tmp_path)
    assert_equal_to_timm(model, reference)
    assert list(processor.image_mean) == [0.5, 0.5, 0.5]


def write_augreg(path, model):
    """The layout of google-research/vision_transformer: (in, out) kernels, attention split by head."""
    weights = {name: value.detach().numpy() for name, value in model.state_dict().items()}
    arrays = {
        "cls": weights["cls_token"],
        "embedding/kernel": weights["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": weights["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": weights["pos_embed"],
        "Transformer/encoder_norm/scale": weights["norm.weight"],
        "Transformer/encoder_norm/bias": weights["norm.bias"],
        "head/kernel": weights["head.weight"].T,
        "head/bias": weights["head.bias"],
    }
    heads = SIZES["num_heads"]
    for index in range(SIZES["depth"]):
        ours, theirs = f"blocks.{index}.", f"Transformer/encoderblock_{index}/"
        for norm, place in (("norm1", 0), ("norm2", 2)):
            arrays[f"{theirs}LayerNorm_{place}/scale"] = weights[f"{ours}{norm}.weight"]
            arrays[f"{theirs}LayerNorm_{place}/bias"] = weights[f"{ours}{norm}.bias"]
        kernels = np.split(weights[f"{ours}attn.qkv.weight"], 3)
        biases = np.split(weights[f"{ours}attn.qkv.bias"], 3)
        attention = f"{theirs}MultiHeadDotProductAttention_1/"
        for name, kernel, bias in zip(("query", "key", "value"), kernels, biases, strict=True):
            arrays[f"{attention}{name}/kernel"] = kernel.T.reshape(kernel.shape[1], heads, -1)
            arrays[f"{attention}{name}/bias"] = bias.reshape(heads, -1)
        out = weights[f"{ours}attn.proj.weight"]
        arrays[f"{attention}out/kernel"] = out.T.reshape(heads, -1, out.shape[0])
        arrays[f"{attention}out/bias"] = weights[f"{ours}attn.proj.bias"]
        for place, layer in enumerate(("fc1", "fc2")):
            arrays[f"{theirs}MlpBlock_3/Dense_{place}/kernel"] = weights[f"{ours}mlp.{layer}.weight"].T
            arrays[f"{theirs}MlpBlock_3/Dense_{place}/bias"] = weights[f"{ours}mlp.{layer}.bias"]
    np.savez(path, **arrays)


def test_augreg_arrays(tmp_path):
    """The reference is what timm itself reads from the file."""
    write_augreg(tmp_path / "augreg.npz", make_timm("vit_base_patch16_224"))
    reference = timm.create_model("vit_base_patch16_224", **SIZES, num_classes=7).eval()
    reference.load_pretrained(str(tmp_path / "augreg.npz"))
    model, processor = converted(tmp_path / "augreg.npz", tmp_path)
    assert_equal_to_timm(model, reference)
    assert list(processor.image_std) == [0.5, 0.5, 0.5]


def test_arrays_of_objects_are_not_read(tmp_path):
    np.savez(tmp_path / "objects.npz", cls=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ConversionError, match="more than arrays"):
        convert_checkpoint(tmp_path / "objects.npz", tmp_path / "converted")


def test_distilled_deit(tmp_path):
    reference = make_timm("deit_base_distilled_patch16_224")
    torch.save({"model": reference.state_dict()}, tmp_path / "deit.pth")
    model, processor = converted(tmp_path / "deit.pth", tmp_path)
    assert_equal_to_timm(model, reference)
    assert model.vision_model.num_prefix_tokens == 2
    assert list(processor.image_mean) == IMAGENET_MEAN


@pytest.mark.parametrize("by_the_authors", [False, True], ids=["released", "converted_to_deit"])
def test_moco_v3(by_the_authors, tmp_path):
    reference = make_timm("vit_base_patch16_224")
    reference.pos_embed.data[:, 0] = 0  # the fixed table has zeros for the class token
    weights = {name: value for name, value in reference.state_dict().items() if not name.startswith("head.")}
    if by_the_authors:  # convert_to_deit.py
        torch.save({"model": weights}, tmp_path / "moco.pth")
    else:
        full = {f"module.base_encoder.{name}": value for name, value in weights.items()}
        full |= {f"module.momentum_encoder.{name}": value + 1 for name, value in weights.items()}
        full |= {"module.base_encoder.head.0.weight": torch.zeros(2, 2), "module.predictor.0.weight": torch.zeros(2)}
        full |= {"module.predictor.1.num_batches_tracked": torch.tensor(3)}
        torch.save({"epoch": 300, "arch": "vit_base", "state_dict": full, "optimizer": {}}, tmp_path / "moco.pth")
    model, processor = converted(tmp_path / "moco.pth", tmp_path)
    assert_equal_to_timm(model, reference)
    assert list(processor.image_mean) == IMAGENET_MEAN


@pytest.mark.parametrize("shared", [True, False], ids=["pt22k", "pt22k_ft22k"])
def test_beit(shared, tmp_path):
    reference = make_timm("beit_base_patch16_224", use_shared_rel_pos_bias=shared, use_rel_pos_bias=not shared)
    weights = reference.state_dict()
    prefixes = ["rel_pos_bias"] if shared else [f"blocks.{index}.attn" for index in range(4)]
    weights |= {f"{prefix}.relative_position_index": torch.zeros(5, 5, dtype=torch.long) for prefix in prefixes}
    if shared:
        weights |= {"mask_token": torch.zeros(1, 1, 128), "lm_head.weight": torch.zeros(8, 128)}
    torch.save({"model": weights}, tmp_path / "beit.pth")
    model, processor = converted(tmp_path / "beit.pth", tmp_path)
    assert len(model.vision_model.biases) == (1 if shared else 4)
    assert_equal_to_timm(model, reference)
    assert list(processor.image_mean) == [0.5, 0.5, 0.5]


WIDTH, HEADS, DEPTH, PATCH, SIDE = 96, 2, 4, 8, 32


def face_transformer_weights():
    """Names and shapes of zhongyy/Face-Transformer `vit_face.py`, class ViT_face."""
    torch.manual_seed(1)
    shapes = {
        "pos_embedding": (1, (SIDE // PATCH) ** 2 + 1, WIDTH),
        "cls_token": (1, 1, WIDTH),
        "patch_to_embedding.weight": (WIDTH, PATCH * PATCH * 3),
        "patch_to_embedding.bias": (WIDTH,),
        "mlp_head.0.weight": (WIDTH,),
        "mlp_head.0.bias": (WIDTH,),
        "loss.weight": (9, WIDTH),
    }
    for index in range(DEPTH):
        layer = f"transformer.layers.{index}."
        shapes |= {f"{layer}{part}.fn.norm.{name}": (WIDTH,) for part in (0, 1) for name in ("weight", "bias")}
        shapes |= {
            f"{layer}0.fn.fn.to_qkv.weight": (3 * HEADS * 64, WIDTH),
            f"{layer}0.fn.fn.to_out.0.weight": (WIDTH, HEADS * 64),
            f"{layer}0.fn.fn.to_out.0.bias": (WIDTH,),
            f"{layer}1.fn.fn.net.0.weight": (200, WIDTH),
            f"{layer}1.fn.fn.net.0.bias": (200,),
            f"{layer}1.fn.fn.net.3.weight": (WIDTH, 200),
            f"{layer}1.fn.fn.net.3.bias": (WIDTH,),
        }
    return {
        name: torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 0.5) for name, shape in shapes.items()
    }


def face_transformer_blocks(images, weights):
    """The reference: outputs of all blocks, written from the published architecture."""
    batch, rows = images.shape[0], SIDE // PATCH
    cells = images.reshape(batch, 3, rows, PATCH, rows, PATCH).permute(0, 2, 4, 3, 5, 1)  # … row, column, channel
    tokens = cells.reshape(batch, rows * rows, -1) @ weights["patch_to_embedding.weight"].T
    tokens = tokens + weights["patch_to_embedding.bias"]
    x = torch.cat([weights["cls_token"].expand(batch, -1, -1), tokens], dim=1) + weights["pos_embedding"]
    outputs = []
    for index in range(DEPTH):
        part = {name.removeprefix(f"transformer.layers.{index}."): value for name, value in weights.items()}
        normed = functional.layer_norm(x, (WIDTH,), part["0.fn.norm.weight"], part["0.fn.norm.bias"])
        q, k, v = (normed @ part["0.fn.fn.to_qkv.weight"].T).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (HEADS, 64)).transpose(1, 2) for t in (q, k, v))
        attended = ((q @ k.mT) * WIDTH**-0.5).softmax(-1) @ v
        merged = attended.transpose(1, 2).flatten(2)
        x = x + merged @ part["0.fn.fn.to_out.0.weight"].T + part["0.fn.fn.to_out.0.bias"]
        normed = functional.layer_norm(x, (WIDTH,), part["1.fn.norm.weight"], part["1.fn.norm.bias"])
        inner = functional.gelu(normed @ part["1.fn.fn.net.0.weight"].T + part["1.fn.fn.net.0.bias"])
        x = x + inner @ part["1.fn.fn.net.3.weight"].T + part["1.fn.fn.net.3.bias"]
        outputs.append(x)
    return outputs


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_face_transformer(attention, tmp_path):
    weights = face_transformer_weights()
    torch.save(weights, tmp_path / "face.pth")
    model, processor = converted(tmp_path / "face.pth", tmp_path)
    model.set_attn_implementation(attention)
    assert (model.vision_model.config.num_attention_heads, model.config.input_side) == (HEADS, SIDE)
    assert model.vision_model.config._attn_implementation == attention
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE)) / 255
    mean, std = (torch.tensor(list(values))[:, None, None] for values in (processor.image_mean, processor.image_std))
    with torch.no_grad():
        actual = model.vision_model((images - mean) / std, block_indices=[0, 3]).block_outputs
    expected = face_transformer_blocks(images * 255, weights)
    for ours, theirs in zip(actual, (expected[0], expected[3]), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)


def test_a_head_starts_from_a_converted_encoder(tmp_path):
    reference = make_timm("vit_base_patch16_224")
    torch.save(reference.state_dict(), tmp_path / "vit.pth")
    convert_checkpoint(tmp_path / "vit.pth", tmp_path / "converted")
    model, loading = FaRLForFaceParsing.from_pretrained(
        tmp_path / "converted", num_labels=3, head_channels=16, output_loading_info=True
    )
    assert {key.split(".")[0] for key in loading["missing_keys"]} == {"pyramid", "head"}
    assert_equal_to_timm(model.eval(), reference)


def test_what_belongs_to_no_encoder_is_refused(tmp_path):
    torch.save(make_timm("vit_base_patch16_224").state_dict() | {"surprise": torch.zeros(1)}, tmp_path / "vit.pth")
    with pytest.raises(ConversionError, match="surprise"):
        convert_checkpoint(tmp_path / "vit.pth", tmp_path / "converted")
    assert not (tmp_path / "converted").exists()
