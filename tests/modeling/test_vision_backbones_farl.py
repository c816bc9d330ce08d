"""Other encoders under the heads: the features are the libraries' own, whatever the size of the input."""

import sys
from functools import partial

import pytest
import timm
import torch
from timm.layers import resample_abs_pos_embed, resize_rel_pos_bias_table_simple
from timm.models.beit import gen_relative_position_index
from torch.utils.checkpoint import checkpoint
from transformers import (
    BeitConfig,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2WithRegistersConfig,
    SiglipVisionConfig,
    ViTConfig,
)

from farl_hf import FaRLConfig, FaRLForAttributes, FaRLForFaceParsing, FaRLForLandmarks, FaRLModel
from farl_hf.modeling import FaceTransformerModel, FaRLFeatureMaps
from farl_hf.modeling.vision_backbones_farl import RelativePositionBias
from farl_hf.training.trainer import freeze_backbone, make_parameter_groups

SMALL = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 16,
}
SMALL_TIMM = {"embed_dim": 32, "depth": 4, "num_heads": 4, "img_size": 32}


def timm_config(architecture, **settings):
    return {"model_type": "timm_wrapper", "architecture": architecture, "model_args": SMALL_TIMM | settings}


BEIT = {"use_rel_pos_bias": False, "use_shared_rel_pos_bias": True, "init_values": 0.1}
BACKBONES = {
    "clip": CLIPVisionConfig(**SMALL),
    "vit": timm_config("vit_base_patch16_224"),
    "vit_patch8": timm_config("vit_base_patch8_224"),
    "vit_patch14_without_class": timm_config(
        "vit_base_patch16_224", patch_size=14, img_size=28, class_token=False, global_pool="avg"
    ),
    "vit_no_embed_class": timm_config("vit_base_patch16_224", no_embed_class=True, reg_tokens=2),
    "deit": timm_config("deit_base_distilled_patch16_224"),
    "beit_shared": timm_config("beit_base_patch16_224", **BEIT),
    "beit": timm_config("beit_base_patch16_224"),
    "transformers_beit": BeitConfig(**SMALL, use_shared_relative_position_bias=True),
    "transformers_vit": ViTConfig(**SMALL),
    "dinov2": Dinov2Config(**(SMALL | {"patch_size": 14, "image_size": 28})),
    "dinov2_registers": Dinov2WithRegistersConfig(**(SMALL | {"patch_size": 14, "image_size": 28})),
    "siglip": SiglipVisionConfig(**SMALL),
    "face_transformer": {"model_type": "face_transformer", **SMALL, "patch_size": 8, "head_dim": 8},
}
PREFIX_TOKENS = {"deit": 2, "vit_patch14_without_class": 0, "vit_no_embed_class": 3, "siglip": 0}
PREFIX_TOKENS |= {"dinov2_registers": 5}
PATCHES = {"vit_patch8": 8, "face_transformer": 8, "vit_patch14_without_class": 14, "dinov2": 14}
PATCHES |= {"dinov2_registers": 14}
HEADS = {
    FaRLForFaceParsing: lambda side: torch.randint(0, 5, (2, side, side)),
    FaRLForLandmarks: lambda side: torch.rand(2, 5, 2),
    FaRLForAttributes: lambda side: torch.randint(0, 2, (2, 5)).float(),
}
by_backbone = pytest.mark.parametrize("name", BACKBONES)


def make(model_class, name, **settings):
    torch.manual_seed(0)
    settings = {"head_channels": 16, "num_labels": 5, "heatmap_size": 16, **settings}
    model = model_class(FaRLConfig(backbone_config=BACKBONES[name], **settings)).eval()
    with torch.no_grad():  # what starts at zero or one would hide mistakes
        for parameter in model.vision_model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def images_for(name, rows=5, columns=5):
    patch = PATCHES.get(name, 16)
    return torch.randn(2, 3, rows * patch, columns * patch)


@by_backbone
def test_every_head_learns_on_it(name):
    images = images_for(name)
    for model_class, make_labels in HEADS.items():
        model = make(model_class, name).train()
        outputs = model(images, labels=make_labels(images.shape[-1]))
        outputs.loss.backward()
        learning = {key for key, parameter in model.named_parameters() if parameter.grad is not None}
        assert learning == {key for key, _ in model.named_parameters() if not key.endswith("mask_token")}
        if model_class is not FaRLForAttributes:
            side = 5 * {8: 2, 14: 4, 16: 4}[PATCHES.get(name, 16)]
            assert outputs.logits.shape == (2, 5, side, side)


@by_backbone
def test_prefix_tokens_are_counted(name):
    backbone = make(FaRLFeatureMaps, name).vision_model
    prefix = PREFIX_TOKENS.get(name, 1)
    assert backbone.num_prefix_tokens == prefix
    tokens = backbone(images_for(name, 2, 3), block_indices=[0]).block_outputs[0]
    assert tokens.shape == (2, prefix + 6, 32)


@by_backbone
def test_saved_and_loaded_it_computes_the_same(name, tmp_path):
    model = make(FaRLForFaceParsing, name, feature_levels=[0, 0, 2, 3])
    images = images_for(name)
    model.save_pretrained(tmp_path)
    loaded, report = FaRLForFaceParsing.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert loaded.config.feature_levels == [0, 0, 2, 3]
    with torch.no_grad():
        torch.testing.assert_close(loaded.eval()(images).logits, model(images).logits)
        other, report = FaRLFeatureMaps.from_pretrained(tmp_path, output_loading_info=True)
        assert not report["missing_keys"]
        expected = model.vision_model.feature_maps(images, [0, 0, 2, 3])
        for actual, wanted in zip(other.eval()(images).feature_maps, expected, strict=True):
            torch.testing.assert_close(actual, wanted)


@by_backbone
def test_checkpointed_gradients_are_the_same(name):
    images, gradients = images_for(name), []
    for checkpointing in (False, True):
        model = make(FaRLForAttributes, name)
        if checkpointing:
            model._set_gradient_checkpointing(True, partial(checkpoint, use_reentrant=False))
        for module in model.modules():  # dropout apart, training is evaluation here
            module.training = not isinstance(module, torch.nn.Dropout)
        model(images).logits.sum().backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for plain, checkpointed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, checkpointed)


@by_backbone
def test_parts_are_told_apart_for_the_optimizer(name):
    model = make(FaRLForFaceParsing, name)
    rates = {"backbone": 1e-4, "pyramid": 1e-3, "head": 1e-2}
    groups = {group["name"]: group["params"] for group in make_parameter_groups(model, rates, 0.0)}
    assert len(groups["backbone"]) == sum(value.requires_grad for value in model.vision_model.parameters())
    assert len(groups["head"]) == len(list(model.head.parameters()))
    freeze_backbone(model)
    learning = {key.split(".")[0] for key, value in model.named_parameters() if value.requires_grad}
    assert learning == {"pyramid", "head"}


@by_backbone
def test_rearranged_head_computes_the_same_on_it(name):
    model, images = make(FaRLForFaceParsing, name), images_for(name, 4, 4)
    with torch.no_grad():
        plain = model(images).logits
        rearranged = model.optimize_for_inference()(images).logits
        assert model.__dict__["_fast_inference"].head is not None
        torch.testing.assert_close(rearranged, plain, atol=1e-5, rtol=1e-4)


@by_backbone
def test_sides_that_the_patch_does_not_divide_are_refused(name):
    with pytest.raises(ValueError, match="multiples of the patch size"):
        make(FaRLFeatureMaps, name)(torch.zeros(1, 3, 33, 48))


@pytest.mark.parametrize("name", ["vit", "vit_patch8", "vit_patch14_without_class", "vit_no_embed_class", "deit"])
@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (3, 5)])
def test_timm_blocks_and_resized_positions_are_timms(name, rows, columns):
    """At another size the reference is timm's model of that size, its table resized by timm without anti-aliasing."""
    ours, settings = make(FaRLFeatureMaps, name).vision_model, BACKBONES[name]
    images = images_for(name, rows, columns)
    size = {"img_size": tuple(images.shape[-2:])}
    reference = timm.create_model(settings["architecture"], **(settings["model_args"] | {"num_classes": 0} | size))
    weights = dict(ours.model.state_dict())
    stored = settings["model_args"]["img_size"] // PATCHES.get(name, 16)
    weights["pos_embed"] = resample_abs_pos_embed(
        weights["pos_embed"],
        (rows, columns),
        (stored, stored),
        num_prefix_tokens=0 if name == "vit_no_embed_class" else ours.num_prefix_tokens,
        antialias=False,
    )
    assert not reference.load_state_dict(weights, strict=False).unexpected_keys
    expected = reference.eval().forward_intermediates(images, indices=[1, 3], intermediates_only=True)
    with torch.no_grad():
        for actual, wanted in zip(ours.feature_maps(images, [1, 3]), expected, strict=True):
            torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize("name", ["beit", "beit_shared"])
@pytest.mark.parametrize("side", [2, 3])
def test_beit_blocks_and_resized_biases_are_timms(name, side):
    ours, settings = make(FaRLFeatureMaps, name).vision_model, BACKBONES[name]
    images = images_for(name, side, side)
    arguments = settings["model_args"] | {"num_classes": 0, "img_size": 16 * side}
    reference = timm.create_model(settings["architecture"], **arguments)
    places = ["rel_pos_bias"] if name == "beit_shared" else [f"blocks.{index}.attn" for index in range(4)]
    weights = dict(ours.model.state_dict())
    for place, bias in zip(places, ours.biases, strict=True):
        table = resize_rel_pos_bias_table_simple(bias.table, (side, side), ((2 * side - 1) ** 2 + 3, 4))
        weights[f"{place}.relative_position_bias_table"] = table
    assert not reference.load_state_dict(weights, strict=False).unexpected_keys
    expected = reference.eval().forward_intermediates(images, indices=[1, 3], intermediates_only=True)
    with torch.no_grad():
        for actual, wanted in zip(ours.feature_maps(images, [1, 3]), expected, strict=True):
            torch.testing.assert_close(actual, wanted)


def test_rows_of_relative_positions_are_timms():
    bias = RelativePositionBias((2, 3), 4)
    torch.nn.init.normal_(bias.table)
    expected = bias.table[gen_relative_position_index((2, 3))].permute(2, 0, 1)[None]
    torch.testing.assert_close(bias((2, 3)), expected)


@pytest.mark.parametrize("name", ["clip", "dinov2", "dinov2_registers", "transformers_beit"])
def test_transformers_blocks_are_the_hidden_states(name):
    """These leave the last hidden state raw; others tie it to the normed output."""
    ours, images = make(FaRLFeatureMaps, name).vision_model, images_for(name)
    options = {} if name.startswith("dinov2") else {"interpolate_pos_encoding": True}
    hidden = ours.model(images, output_hidden_states=True, **options).hidden_states
    for actual, expected in zip(
        ours(images, block_indices=[0, 2, 3]).block_outputs, (hidden[1], hidden[3], hidden[4]), strict=True
    ):
        torch.testing.assert_close(actual, expected)


def test_farls_own_tower_is_clips():
    """So CLIP's weights need no foreign backbone: Transformers' tower and ours agree at any size."""
    clip = CLIPVisionModel(CLIPVisionConfig(**SMALL)).eval()
    ours = make(FaRLFeatureMaps, "clip").vision_model
    farl = FaRLFeatureMaps(FaRLConfig(vision_config=SMALL)).eval().vision_model
    weights = {key: value for key, value in ours.model.state_dict().items() if not key.startswith("post_layernorm")}
    clip.load_state_dict(weights, strict=False)
    farl.load_state_dict(weights)
    images = images_for("clip", 3, 5)
    hidden = clip(images, output_hidden_states=True, interpolate_pos_encoding=True).hidden_states
    torch.testing.assert_close(farl(images, block_indices=[3]).block_outputs[0], hidden[4])


def test_levels_follow_the_depth():
    config = FaRLConfig(backbone_config={"model_type": "face_transformer"})
    assert config.feature_levels == [5, 9, 12, 19]
    assert config.input_side == 112
    assert FaRLConfig(backbone_config=BACKBONES["vit"]).feature_levels is None  # timm knows the depth
    assert make(FaRLFeatureMaps, "vit").config.feature_levels == [0, 1, 3, 3]
    with pytest.raises(ValueError, match=r"must lie in 0\.\.3"):
        make(FaRLFeatureMaps, "vit", feature_levels=[0, 1, 2, 4])


@pytest.mark.parametrize(
    ("backbone", "message"),
    [
        ({"architecture": "vit_base_patch16_224"}, "lacks model_type"),
        ({"model_type": "swin"}, "no plain ViT"),
        ({"model_type": "clip"}, "configuration of its vision encoder"),
        ({"model_type": "timm_wrapper", "architecture": "resnet18"}, "expected one of its plain ViTs"),
    ],
)
def test_what_is_no_backbone_is_refused(backbone, message):
    with pytest.raises(ValueError, match=message):
        FaRLFeatureMaps(FaRLConfig(backbone_config=backbone))


def test_both_towers_are_not_made_of_a_foreign_backbone():
    with pytest.raises(ValueError, match="FaRLFeatureMaps"):
        FaRLModel(FaRLConfig(backbone_config=BACKBONES["vit"]))


def test_without_timm_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="pip install timm"):
        FaRLFeatureMaps(FaRLConfig(backbone_config=BACKBONES["vit"]))


def test_face_transformer_pools_the_normed_class_token():
    model = make(FaRLFeatureMaps, "face_transformer").vision_model
    whole = FaceTransformerModel(model.config).eval()
    whole.load_state_dict(model.state_dict(), strict=False)
    images = images_for("face_transformer")
    last = model(images, block_indices=[3]).block_outputs[0]
    outputs = whole(images)
    torch.testing.assert_close(outputs.last_hidden_state, last)
    torch.testing.assert_close(outputs.pooler_output, whole.post_layernorm(last[:, 0]))
