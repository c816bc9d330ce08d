"""What every model of Transformers offers: recorded outputs, tuples, input embeddings, backbones, offloading."""

import inspect
import logging

import pytest
import torch
from transformers import (
    AutoBackbone,
    DPTConfig,
    DPTForDepthEstimation,
    Mask2FormerConfig,
    Mask2FormerForUniversalSegmentation,
    UperNetConfig,
    UperNetForSemanticSegmentation,
)

from farl_hf import (
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLForLandmarks,
    FaRLForMaskedImageModeling,
    FaRLForPreTraining,
    FaRLModel,
    FaRLTextModel,
    FaRLVisionModel,
    RetinaFaceConfig,
    RetinaFaceForFaceDetection,
)
from farl_hf.modeling import (
    FaceDecoderConfig,
    FaceDecoderModel,
    FaceTransformerConfig,
    FaceTransformerModel,
    FaRLBackbone,
    FaRLFeatureMaps,
)

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TEXTS = torch.tensor([[97, 1, 2, 98], [97, 3, 4, 98]])
MASK = torch.tensor([[True, False, True, False], [False, True, True, False]])
PAIRS = {"pixel_values": IMAGES, "input_ids": TEXTS}

FACE_TRANSFORMER = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "head_dim": 16,
    "image_size": 32,
    "patch_size": 16,
}
# Model, its inputs, how many blocks record.
RECORDING = {
    "vision": (FaRLVisionModel, {"pixel_values": IMAGES}, 4),
    "text": (FaRLTextModel, {"input_ids": TEXTS}, 2),
    "backbone": (FaRLBackbone, {"pixel_values": IMAGES}, 4),
    "feature_maps": (FaRLFeatureMaps, {"pixel_values": IMAGES}, 4),
    "parsing": (FaRLForFaceParsing, {"pixel_values": IMAGES}, 4),
    "landmarks": (FaRLForLandmarks, {"pixel_values": IMAGES}, 4),
    "attributes": (FaRLForAttributes, {"pixel_values": IMAGES}, 4),
    "masked_images": (FaRLForMaskedImageModeling, {"pixel_values": IMAGES, "bool_masked_pos": MASK}, 4),
    "face_transformer": (FaceTransformerModel, {"pixel_values": IMAGES}, 3),
}
OTHERS = {
    "model": (FaRLModel, PAIRS),
    "pretraining": (FaRLForPreTraining, PAIRS | {"bool_masked_pos": MASK, "mim_labels": MASK.long()}),
    "detection": (RetinaFaceForFaceDetection, {"pixel_values": IMAGES}),
    "decoder": (FaceDecoderModel, {"latents": torch.zeros(2, 8)}),
}
ALL = {name: row[:2] for name, row in (RECORDING | OTHERS).items()}


def config_of(model_class, toy_config):
    if model_class is FaceTransformerModel:
        return FaceTransformerConfig(**FACE_TRANSFORMER)
    if model_class is FaceDecoderModel:
        return FaceDecoderConfig(latent_size=8, grid_size=2, stage_channels=[8, 4])
    if model_class is RetinaFaceForFaceDetection:
        return RetinaFaceConfig(width_multiplier=0.125, pyramid_channels=16)
    config = toy_config(mim_vocab_size=9)
    parts = {"farl_text_model": config.text_config, "farl_vision_model": config.vision_config}
    return parts.get(model_class.config_class.model_type, config)


@pytest.fixture
def build(toy_model, toy_config):
    def make(model_class):
        model = toy_model(model_class, config_of(model_class, toy_config))
        if model_class not in (RetinaFaceForFaceDetection, FaceDecoderModel):
            model.set_attn_implementation("eager")
        return model

    return make


# --- recorded outputs and tuples


@pytest.mark.parametrize("name", RECORDING)
@pytest.mark.parametrize("by_config", [False, True])
@torch.no_grad()
def test_hidden_states_and_attentions(name, by_config, build):
    model_class, inputs, num_blocks = RECORDING[name]
    model = build(model_class)
    plain = model(**inputs)
    assert plain.get("hidden_states") is None
    flags = {"output_hidden_states": True, "output_attentions": True}
    if by_config:
        for flag in flags:
            setattr(model.config, flag, True)
    outputs = model(**inputs, **({} if by_config else flags))
    assert len(outputs.hidden_states) == num_blocks + 1
    assert len(outputs.attentions) == num_blocks
    for weights in outputs.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    for first, second in zip(plain.to_tuple(), outputs.to_tuple(), strict=False):
        torch.testing.assert_close(first, second)


@torch.no_grad()
def test_hidden_states_of_a_head_are_the_outputs_of_its_blocks(build):
    model = build(FaRLForFaceParsing)
    states = model(IMAGES, output_hidden_states=True).hidden_states
    embeddings = model.vision_model.pre_layrnorm(model.vision_model.embeddings(IMAGES))
    torch.testing.assert_close(states[0], embeddings)
    for state, output in zip(
        states[1:], model.vision_model(IMAGES, block_indices=range(4)).block_outputs, strict=True
    ):
        torch.testing.assert_close(state, output)


@torch.no_grad()
def test_a_configuration_of_both_encoders_counts_for_both(build):
    model = build(FaRLModel)
    model.config.output_hidden_states = True
    outputs = model(**PAIRS)
    assert len(outputs.vision_model_output.hidden_states) == 5
    assert len(outputs.text_model_output.hidden_states) == 3
    assert len(model(pixel_values=IMAGES).hidden_states) == 5
    assert model(pixel_values=IMAGES, output_hidden_states=False).hidden_states is None


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_hooks_of_every_part_fire(name, build):
    """No model reaches into another one, past its `forward`."""
    model_class, inputs = ALL[name]
    model, ran = build(model_class), set()
    for part, module in model.named_modules():
        module.register_forward_hook(lambda *_, part=part: ran.add(part))
    model(**inputs)
    assert ran == {part for part, module in model.named_modules() if not isinstance(module, torch.nn.ModuleList)}


@pytest.fixture
def warnings_said(caplog):
    """The log of warnings; those that another test was given once are given again."""
    logging.Logger.warning_once.cache_clear()
    caplog.set_level(logging.WARNING)
    return caplog


@pytest.mark.parametrize("name", ["pretraining", "detection", "decoder"])
def test_what_has_no_meaning_is_said(name, build, warnings_said):
    model_class, inputs = OTHERS[name]
    build(model_class)(**inputs, output_hidden_states=True)
    assert f"{model_class.__name__} ignores output_hidden_states" in warnings_said.text


def test_fused_attention_has_no_weights_to_return(toy_model, warnings_said):
    assert toy_model(FaRLForLandmarks)(IMAGES, output_attentions=True).attentions == ()
    assert "FaRLForLandmarks returns no attentions" in warnings_said.text


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_return_dict_false_gives_the_same_values(name, build):
    model_class, inputs = ALL[name]
    model = build(model_class)
    expected = model(**inputs).to_tuple()
    by_call = model(**inputs, return_dict=False)
    model.config.return_dict = False
    by_config = model(**inputs)
    for answer in (by_call, by_config):
        assert type(answer) is tuple
        torch.testing.assert_close(answer, expected)


# --- embeddings


@pytest.mark.parametrize("name", ALL)
def test_input_embeddings_can_be_replaced(name, build):
    model_class, inputs = ALL[name]
    model = build(model_class)
    embeddings = model.get_input_embeddings()
    doubled = type(embeddings).__new__(type(embeddings))
    doubled.__dict__ = embeddings.__dict__ | {"_parameters": dict(embeddings._parameters)}
    doubled.weight = torch.nn.Parameter(torch.zeros_like(embeddings.weight))
    model.set_input_embeddings(doubled)
    assert model.get_input_embeddings() is doubled
    outputs = model(**inputs)
    first = next(value for value in outputs.values() if isinstance(value, (torch.Tensor, tuple)))
    (first[0] if isinstance(first, tuple) else first).sum().backward()
    assert doubled.weight.grad is not None


def test_the_vocabulary_can_grow(build):
    model = build(FaRLModel)
    before = model.get_input_embeddings().weight.detach().clone()
    features = model.get_text_features(TEXTS).pooler_output
    model.resize_token_embeddings(103)
    assert model.config.text_config.vocab_size == model.text_model.config.vocab_size == 103
    torch.testing.assert_close(model.get_input_embeddings().weight[:99], before)
    torch.testing.assert_close(model.get_text_features(TEXTS).pooler_output, features)
    assert torch.isfinite(model.get_text_features(torch.tensor([[97, 102, 98]])).pooler_output).all()


# --- backbones


@torch.no_grad()
def test_blocks_of_a_backbone_may_be_counted_from_the_last(toy_model, toy_config):
    config = toy_config(vision={"out_indices": [1, -1]})
    backbone = toy_model(FaRLBackbone, config.vision_config)
    assert backbone.channels == [32, 32]
    expected = backbone.vision_model.feature_maps(IMAGES, [1, 3])
    torch.testing.assert_close(backbone(IMAGES).feature_maps, tuple(expected))
    assert config.feature_levels == [1, 3, 3, 3]
    assert toy_model(FaRLForFaceParsing, config)(IMAGES).logits.shape == (2, 5, 8, 8)


@torch.no_grad()
def test_auto_backbone_takes_blocks_of_a_named_checkpoint():
    images = torch.randn(1, 3, 112, 112)
    backbone = AutoBackbone.from_pretrained("farl-tiny", out_indices=[0, -1])
    depth = backbone.config.vision_config.num_hidden_layers
    assert backbone.out_indices == [0, depth - 1]
    assert backbone.out_features == ["block0", f"block{depth - 1}"]
    assert backbone.channels == [backbone.config.hidden_size] * 2
    encoder = FaRLVisionModel.from_pretrained("farl-tiny")
    torch.testing.assert_close(backbone(images).feature_maps, tuple(encoder.feature_maps(images, [0, depth - 1])))
    tokens = AutoBackbone.from_pretrained("farl-tiny", out_indices=[1], reshape_hidden_states=False)
    torch.testing.assert_close(tokens(images).feature_maps, tuple(encoder(images, block_indices=[1]).block_outputs))


def upernet(backbone_config):
    config = UperNetConfig(backbone_config=backbone_config, hidden_size=16, auxiliary_channels=8, num_labels=3)
    config.auxiliary_in_channels = 32
    return UperNetForSemanticSegmentation(config), (2, 3, 32, 32)


def mask2former(backbone_config):
    config = Mask2FormerConfig(
        backbone_config=backbone_config,
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        dim_feedforward=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        num_queries=4,
        num_labels=3,
    )
    return Mask2FormerForUniversalSegmentation(config), (2, 4, 2, 2)


def dpt(backbone_config):
    backbone_config.reshape_hidden_states = False
    config = DPTConfig(
        backbone_config=backbone_config,
        hidden_size=32,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        reassemble_factors=[4, 2, 1, 0.5],
        head_in_index=-1,
    )
    return DPTForDepthEstimation(config), (2, 32, 32)


@pytest.mark.parametrize("make", [upernet, mask2former, dpt])
@pytest.mark.parametrize("whole", [False, True], ids=["vision_config", "farl_config"])
def test_models_of_transformers_on_our_backbone(make, whole, toy_config, tmp_path):
    config = toy_config(vision={"out_indices": [0, 1, 2, 3]})
    model, shape = make(config if whole else config.vision_config)
    model = model.eval()
    with torch.no_grad():
        outputs = model(IMAGES)
    answer = next(outputs[name] for name in ("logits", "masks_queries_logits", "predicted_depth") if name in outputs)
    assert answer.shape == shape
    assert answer.std() > 0
    model.save_pretrained(tmp_path)
    again = type(model).from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(IMAGES).to_tuple()[0], outputs.to_tuple()[0])


# --- offloading and precision


@pytest.mark.parametrize("name", ["model", "parsing", "attributes", "text", "masked_images", "pretraining"])
@torch.no_grad()
def test_weights_on_disk(name, build, tmp_path):
    model_class, inputs = ALL[name]
    model = build(model_class)
    model.set_attn_implementation("sdpa")
    expected = model(**inputs).to_tuple()
    model.save_pretrained(tmp_path / "model")
    offloaded = model_class.from_pretrained(
        tmp_path / "model", device_map="auto", max_memory={"cpu": 20_000}, offload_folder=tmp_path / "offloaded"
    )
    assert "disk" in offloaded.hf_device_map.values()
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    torch.testing.assert_close(offloaded(**inputs).to_tuple(), expected)


@torch.no_grad()
def test_the_detector_takes_pictures_of_another_type(build):
    model = build(RetinaFaceForFaceDetection).to(torch.bfloat16)
    outputs = model(IMAGES)
    assert outputs.class_logits.dtype == torch.bfloat16
    torch.testing.assert_close(outputs.class_logits, model(IMAGES.bfloat16()).class_logits)


@pytest.mark.parametrize("model_class", [FaRLModel, FaRLForPreTraining, FaRLTextModel, FaRLVisionModel])
def test_the_main_input_is_the_first_argument(model_class):
    arguments = list(inspect.signature(model_class.forward).parameters)
    assert model_class.main_input_name == arguments[1]  # after self
