"""Both towers against Transformers' CLIP with the same weights, and the duties of a Transformers model."""

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForKeypointDetection,
    AutoModelForSemanticSegmentation,
    CLIPConfig,
    CLIPModel,
)
from transformers.activations import ACT2FN

from farl_hf import (
    FaRLBackbone,
    FaRLForAttributes,
    FaRLForFaceParsing,
    FaRLForLandmarks,
    FaRLModel,
    FaRLTextModel,
    FaRLVisionModel,
)
from farl_hf.modeling.modeling_farl import QuickGELU

HEADS = [FaRLForFaceParsing, FaRLForLandmarks, FaRLForAttributes]
FROM_VISION_CONFIG = (FaRLVisionModel, FaRLBackbone)


def pixels(*size, batch=2):
    return torch.randn(batch, 3, *(size or (32, 32)))


def texts():
    return torch.tensor([[97, 5, 6, 7, 98, 98], [97, 8, 9, 98, 98, 98]])


def inputs_of(model):
    if isinstance(model, FaRLTextModel):
        return {"input_ids": texts()}
    if isinstance(model, FaRLModel):
        return {"input_ids": texts(), "pixel_values": pixels()}
    return {"pixel_values": pixels()}


def config_of(model_class, config):
    if model_class in FROM_VISION_CONFIG:
        return config.vision_config
    return config.text_config if model_class is FaRLTextModel else config


def main_output(outputs):
    """The tensor that a comparison of two models of one class should look at."""
    for name in ("logits", "logits_per_image", "feature_maps", "pooler_output"):
        if name in outputs:
            value = outputs[name]
            return torch.stack(value) if isinstance(value, tuple) else value
    raise AssertionError(outputs.keys())


@pytest.fixture
def clip_and_farl(toy_config):
    """CLIP, and FaRL with CLIP's state dict."""
    config = toy_config()
    sizes = {"projection_dim": config.projection_dim, "hidden_act": "quick_gelu"}
    vision, text = config.vision_config.to_dict(), config.text_config.to_dict()
    clip_config = CLIPConfig(
        vision_config={key: vision[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers",
                                                    "num_attention_heads", "image_size", "patch_size")} | sizes,
        text_config={key: text[key] for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
                                                "num_attention_heads", "max_position_embeddings", "pad_token_id",
                                                "bos_token_id", "eos_token_id")} | sizes,
        projection_dim=config.projection_dim,
    )  # fmt: skip
    torch.manual_seed(0)
    clip = CLIPModel(clip_config).eval()
    with torch.no_grad():
        for parameter in clip.parameters():  # CLIP's initial values are so small that errors would hide
            parameter.normal_(std=0.15)
    weights = clip.state_dict()
    weights["logit_scale"] = weights["logit_scale"].reshape(1)
    farl = FaRLModel(config).eval()
    farl.load_state_dict({name: weights[name] for name in farl.state_dict()}, strict=True)
    return clip, farl


# ---- numerics


def test_parameter_names_are_those_of_clip(clip_and_farl):
    clip, farl = clip_and_farl
    assert set(dict(farl.named_parameters())) == set(dict(clip.named_parameters()))


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (16, 80)])
def test_image_tower_equals_clip(clip_and_farl, size):
    clip, farl = clip_and_farl
    images = pixels(*size)
    expected = clip.vision_model(images, interpolate_pos_encoding=True, output_hidden_states=True)
    actual = farl.vision_model(images, output_hidden_states=True)
    torch.testing.assert_close(actual.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(actual.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-5)
    assert len(actual.hidden_states) == 5
    for ours, theirs in zip(actual.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_text_tower_equals_clip(clip_and_farl, masked):
    clip, farl = clip_and_farl
    ids = texts()
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]]) if masked else None
    expected = clip.text_model(ids, attention_mask=mask)
    actual = farl.text_model(ids, attention_mask=mask)
    torch.testing.assert_close(actual.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-5)
    read = slice(None, 4)  # what stands on padding is read by nobody
    torch.testing.assert_close(
        actual.last_hidden_state[:, read], expected.last_hidden_state[:, read], atol=1e-5, rtol=1e-5
    )


def test_similarities_and_loss_equal_clip(clip_and_farl):
    clip, farl = clip_and_farl
    images, ids = pixels(), texts()
    expected = clip(input_ids=ids, pixel_values=images, return_loss=True)
    actual = farl(input_ids=ids, pixel_values=images, return_loss=True)
    for name in ("logits_per_image", "logits_per_text", "image_embeds", "text_embeds", "loss"):
        torch.testing.assert_close(actual[name], expected[name], atol=1e-5, rtol=1e-5)


def test_features_equal_clip_and_are_not_normalised(clip_and_farl):
    clip, farl = clip_and_farl
    images, ids = pixels(), texts()
    for name, value in (("get_image_features", images), ("get_text_features", ids)):
        expected, actual = getattr(clip, name)(value), getattr(farl, name)(value)
        torch.testing.assert_close(actual.pooler_output, expected.pooler_output, atol=1e-5, rtol=1e-5)


def test_text_after_the_end_token_changes_nothing(toy_model, toy_config):
    model = toy_model(FaRLTextModel, toy_config().text_config)
    padded, noisy = texts(), texts()
    noisy[:, 5:] = 3
    torch.testing.assert_close(model(padded).pooler_output, model(noisy).pooler_output)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("mask_type", [torch.int64, torch.bool])
def test_padding_at_the_left_changes_nothing(toy_model, toy_config, attention, mask_type):
    model = toy_model(FaRLTextModel, toy_config().text_config)
    model.set_attn_implementation(attention)
    tokens = [[97, 5, 98], [97, 7, 8, 9, 98], [97, 98]]
    padding = [6 - len(one) for one in tokens]
    right = torch.tensor([one + [98] * more for one, more in zip(tokens, padding, strict=True)])
    left = torch.tensor([[98] * more + one for one, more in zip(tokens, padding, strict=True)])
    right_mask = torch.tensor([[1] * len(one) + [0] * more for one, more in zip(tokens, padding, strict=True)])
    expected = model(right, attention_mask=right_mask.to(mask_type)).pooler_output
    found = model(left, attention_mask=right_mask.flip(1).to(mask_type)).pooler_output
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_positions_of_texts_padded_at_the_right_are_those_of_their_places(toy_model, toy_config):
    model = toy_model(FaRLTextModel, toy_config().text_config)
    ids, mask = texts(), torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0]])
    entered = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: entered.append(inputs[0]))
    for given in (None, mask, torch.zeros_like(mask)):
        model(ids, attention_mask=given)
    embeddings = model.embeddings
    by_hand = embeddings.token_embedding(ids) + embeddings.position_embedding(torch.arange(ids.shape[1]))
    assert all(torch.equal(one, by_hand) for one in entered)


@pytest.mark.parametrize("model_class", [FaRLVisionModel, FaRLTextModel, FaRLModel, *HEADS])
def test_eager_equals_sdpa(toy_model, toy_config, model_class):
    model = toy_model(model_class, config_of(model_class, toy_config()))
    inputs = inputs_of(model)
    sdpa = main_output(model(**inputs))
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("eager")
    torch.testing.assert_close(main_output(model(**inputs)), sdpa, atol=1e-5, rtol=1e-5)


def test_eager_returns_attention_weights(toy_model, toy_config):
    model = toy_model(FaRLVisionModel, toy_config().vision_config)
    model.set_attn_implementation("eager")
    attentions = model(pixels(), output_attentions=True).attentions
    assert [weights.shape for weights in attentions] == [(2, 4, 5, 5)] * 4
    torch.testing.assert_close(attentions[0].sum(dim=-1), torch.ones(2, 4, 5))


@pytest.mark.parametrize("model_class", [FaRLModel, FaRLForFaceParsing, FaRLForAttributes])
def test_gradient_checkpointing_changes_no_gradient(toy_model, model_class):
    model = toy_model(model_class, head_dropout=0.0).train()
    inputs = inputs_of(model)

    def gradients():
        model.zero_grad()
        main_output(model(**inputs)).square().sum().backward()
        return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    plain = gradients()
    model.gradient_checkpointing_enable()
    assert any(
        module.gradient_checkpointing for module in model.modules() if hasattr(module, "gradient_checkpointing")
    )
    checkpointed = gradients()
    assert plain.keys() == checkpointed.keys()
    assert len(plain) > 20
    for name in plain:
        torch.testing.assert_close(checkpointed[name], plain[name], msg=name)


@pytest.mark.parametrize("model_class", [FaRLModel, FaRLBackbone, *HEADS])
def test_bfloat16_runs_and_stays_near_float32(toy_model, toy_config, model_class):
    model = toy_model(model_class, config_of(model_class, toy_config()))
    inputs = inputs_of(model)
    exact = main_output(model(**inputs))
    rough = main_output(model.to(torch.bfloat16)(**inputs)).float()
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max() + 0.05


@pytest.mark.parametrize("model_class", [FaRLVisionModel, FaRLBackbone, *HEADS])
def test_results_do_not_depend_on_the_batch(toy_model, toy_config, model_class):
    model = toy_model(model_class, config_of(model_class, toy_config()))
    images = pixels(batch=3)
    together = model(images)
    together = main_output(together)
    one = main_output(model(images[1:2]))
    axis = 1 if model_class is FaRLBackbone else 0
    torch.testing.assert_close(together.select(axis, 1), one.select(axis, 0), atol=1e-5, rtol=1e-5)


def test_positions_are_resized_per_axis_and_the_class_row_is_kept(toy_model, toy_config):
    embeddings = toy_model(FaRLVisionModel, toy_config().vision_config).embeddings
    stored = embeddings.position_embedding.weight
    assert embeddings.positions((2, 2), stored.device)[0].equal(stored)
    positions = embeddings.positions((2, 4), stored.device)
    assert positions.shape == (1, 9, 32)
    torch.testing.assert_close(positions[0, 0], stored[0])


def test_drop_path_drops_whole_samples_and_keeps_the_mean(toy_model, toy_config):
    config = toy_config(vision={"drop_path_rate": 0.5}).vision_config
    model = toy_model(FaRLVisionModel, config)
    assert [layer.drop_path_rate for layer in model.encoder.layers] == pytest.approx([0, 0.5 / 3, 1 / 3, 0.5])
    layer, tokens = model.encoder.layers[3], torch.randn(1, 5, 32).expand(2000, -1, -1)
    branch = layer.self_attn(layer.layer_norm1(tokens[:1]))[0]
    layer.mlp.fc2.weight.data.zero_()
    layer.mlp.fc2.bias.data.zero_()
    added = layer.train()(tokens) - tokens
    kept = added.abs().sum(dim=(1, 2)) > 1e-4
    assert 0.45 < kept.float().mean() < 0.55
    torch.testing.assert_close(added[kept], (2 * branch).expand(int(kept.sum()), -1, -1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(layer.eval()(tokens[:1]) - tokens[:1], branch, atol=1e-5, rtol=1e-4)


# ---- shapes and refusals


@pytest.mark.parametrize("model_class", HEADS)
def test_wrong_sizes_are_refused_with_a_size_that_fits(toy_model, model_class):
    with pytest.raises(ValueError, match=r"33 x 40.*multiples of the patch size 16.*32 x 32"):
        toy_model(model_class)(pixels(33, 40))


def test_fixed_positions_refuse_other_sizes(toy_model):
    model = toy_model(FaRLModel)
    with pytest.raises(ValueError, match=r"\(64, 64\), expected \(32, 32\)"):
        model.get_image_features(pixels(64, 64), interpolate_pos_encoding=False)


def test_long_texts_are_refused(toy_model):
    with pytest.raises(ValueError, match=r"has 13 tokens, the model takes 12"):
        toy_model(FaRLModel).get_text_features(torch.ones(1, 13, dtype=torch.long))


@pytest.mark.parametrize("model_class", [FaRLModel, FaRLVisionModel, FaRLTextModel, FaRLBackbone, *HEADS])
def test_trainer_and_deepspeed_duties(toy_model, toy_config, model_class):
    model = toy_model(model_class, config_of(model_class, toy_config()))
    assert model.accepts_loss_kwargs is False
    assert all(parameter.ndim > 0 for parameter in model.parameters())
    assert model.get_input_embeddings() is not None


def test_logit_scale_starts_at_its_configured_value(toy_model):
    model = toy_model(FaRLModel, logit_scale_init_value=1.25)
    assert model.logit_scale.shape == (1,)
    assert model.logit_scale.item() == 1.25


@pytest.mark.parametrize("model_class", [FaRLModel, FaRLForFaceParsing, FaRLForAttributes])
def test_tuples_on_request(toy_model, model_class):
    model = toy_model(model_class)
    inputs = inputs_of(model)
    first = model(**inputs, return_dict=False)[0]
    torch.testing.assert_close(first, model(**inputs)[0])


def test_initial_weights_have_the_documented_deviations(toy_config):
    torch.manual_seed(0)
    config = toy_config(
        vision={"hidden_size": 64, "num_attention_heads": 4, "image_size": 256, "initializer_range": 0.05}
    )
    vision = FaRLVisionModel(config.vision_config)
    assert vision.embeddings.position_embedding.weight.std().item() == pytest.approx(64**-0.5, rel=0.05)
    assert vision.embeddings.patch_embedding.weight.std().item() == pytest.approx(0.05, rel=0.05)
    assert vision.encoder.layers[0].mlp.fc1.weight.std().item() == pytest.approx(0.05, rel=0.05)
    q_proj = vision.encoder.layers[0].self_attn.q_proj.weight
    assert q_proj.abs().max().item() <= (6 / (4 * 64)) ** 0.5
    text = FaRLTextModel(config.text_config)
    assert text.embeddings.token_embedding.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert FaRLForFaceParsing(config).head.classifier.weight.std().item() == pytest.approx(0.01, rel=0.3)


# ---- saving and loading


@pytest.mark.parametrize("model_class", [FaRLModel, FaRLVisionModel, FaRLTextModel, FaRLBackbone, *HEADS])
def test_save_and_load_give_equal_results(toy_model, toy_config, tmp_path, model_class):
    model = toy_model(model_class, config_of(model_class, toy_config()))
    inputs = inputs_of(model)
    expected = main_output(model(**inputs))
    model.save_pretrained(tmp_path)
    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
    # Not bit for bit: weights mapped from a file are aligned differently, and convolutions choose kernels by that.
    torch.testing.assert_close(main_output(loaded(**inputs)), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("model_class", [FaRLVisionModel, FaRLTextModel, FaRLBackbone, *HEADS])
def test_parts_take_their_weights_from_a_two_tower_checkpoint(toy_model, tmp_path, model_class):
    whole = toy_model(FaRLModel, seed=1)
    whole.save_pretrained(tmp_path)
    part, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    new = ("pyramid.", "head.") if model_class in HEADS else ()
    assert all(key.startswith(new) for key in info["missing_keys"]), info["missing_keys"]
    tower = part
    if hasattr(part, "vision_model"):
        tower = part.vision_model
    source = whole.text_model if model_class is FaRLTextModel else whole.vision_model
    weights = source.state_dict()
    assert len(tower.state_dict()) > 20
    for name, value in tower.state_dict().items():
        assert torch.equal(value, weights[name]), name


@pytest.mark.parametrize("model_class", HEADS)
def test_the_tower_of_a_head_can_be_taken_out(toy_model, tmp_path, model_class):
    head = toy_model(model_class, seed=2)
    head.save_pretrained(tmp_path)
    backbone, info = FaRLBackbone.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["missing_keys"]
    images = pixels()
    maps = head.vision_model.feature_maps(images, backbone.out_indices)
    for actual, expected in zip(backbone(images).feature_maps, maps, strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("model_class", [FaRLModel, *HEADS])
def test_missing_weights_are_created_and_the_others_kept(toy_model, model_class):
    """`from_pretrained` builds without memory; whatever `_init_weights` forgets would be garbage."""
    model = toy_model(model_class, seed=3)
    weights = dict(model.state_dict())
    lost = [name for name in weights if any(part in name for part in LOST)]
    assert lost
    kept = {name: value for name, value in weights.items() if name not in lost}
    loaded = model_class.from_pretrained(None, config=model.config, state_dict=dict(kept))
    for name, value in loaded.state_dict().items():
        if name in kept:
            assert torch.equal(value, kept[name]), name
        else:
            assert value.isfinite().all(), name
            assert value.abs().max() < 5, name
    width = model.config.vision_config.hidden_size
    class_embedding = loaded.vision_model.embeddings.class_embedding
    assert 0.5 * width**-0.5 < class_embedding.std().item() < 2 * width**-0.5
    if model_class is FaRLModel:
        assert loaded.logit_scale.item() == pytest.approx(2.6592)
    if model_class is FaRLForAttributes:
        assert torch.equal(loaded.head.mixture.detach(), torch.ones(12))


LOST = (
    "logit_scale",
    "class_embedding",
    "mixture",
    "head.classifier",
    "running_var",
    "text_projection",
    "layers.1.mlp",
)


def test_new_heads_on_a_loaded_tower_are_initialised(toy_model, tmp_path):
    toy_model(FaRLModel).save_pretrained(tmp_path)
    loaded = FaRLForFaceParsing.from_pretrained(tmp_path, num_labels=7)
    assert loaded.head.classifier.weight.shape[0] == 7
    assert 0.005 < loaded.head.classifier.weight.std().item() < 0.02
    assert torch.equal(loaded.head.fusion[1].running_var, torch.ones(16))
    assert loaded.pyramid.levels[1].weight.abs().max() <= (32 * 4) ** -0.5


@pytest.mark.parametrize("labels", [{"num_labels": 5}, {"id2label": dict(enumerate("abcde"))}, {"id2label": {0: "a"}}])
def test_new_labels_drop_the_weights_of_the_old_ones(toy_model, tmp_path, labels):
    toy_model(FaRLForFaceParsing, num_labels=3, label_weights=[1.0, 2.0, 3.0]).save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, **labels)
    assert (config.num_labels, config.label_weights) == (len(labels.get("id2label", range(5))), None)
    loaded = AutoModelForSemanticSegmentation.from_pretrained(tmp_path, **labels, ignore_mismatched_sizes=True)
    assert (loaded.config.num_labels, loaded.config.label_weights) == (config.num_labels, None)
    kept = AutoConfig.from_pretrained(tmp_path, num_labels=3)
    assert kept.label_weights == [1.0, 2.0, 3.0]


def test_the_same_labels_keep_the_weights_where_none_are_written(toy_config, tmp_path):
    toy_config(num_labels=2, label_weights=[1.0, 3.0]).save_pretrained(tmp_path)
    for labels in ({"num_labels": 2}, {"id2label": {0: "LABEL_0", 1: "LABEL_1"}}):
        assert AutoConfig.from_pretrained(tmp_path, **labels).label_weights == [1.0, 3.0]


@pytest.mark.parametrize("target", HEADS)
@pytest.mark.parametrize("start", HEADS)
def test_any_head_can_follow_any_other_with_new_labels(toy_model, tmp_path, start, target):
    settings = {
        FaRLForFaceParsing: {"label_weights": [1.0, 2.0, 3.0]},
        FaRLForAttributes: {"attribute_thresholds": {"LABEL_0": 0.4}},
    }
    toy_model(start, num_labels=3, **settings.get(start, {})).save_pretrained(tmp_path)
    more = {"ignore_mismatched_sizes": True} if start is target else {}  # as for every model of Transformers
    auto_class = {
        FaRLForFaceParsing: AutoModelForSemanticSegmentation,
        FaRLForLandmarks: AutoModelForKeypointDetection,
        FaRLForAttributes: AutoModelForImageClassification,
    }[target]
    assert type(auto_class.from_pretrained(tmp_path, num_labels=5, **more)).__name__ == target.__name__
    loaded = target.from_pretrained(tmp_path, num_labels=5, **more)
    assert (loaded.config.num_labels, loaded.config.label_weights) == (5, None)
    assert not loaded.config.attribute_thresholds
    tower, known = loaded.vision_model.state_dict(), start.from_pretrained(tmp_path).vision_model.state_dict()
    shared = tower.keys() & known.keys()
    assert len(shared) > 20
    for name in shared:
        torch.testing.assert_close(tower[name], known[name])


# ---- backbone


def test_backbone_returns_the_paper_levels(toy_config):
    torch.manual_seed(0)
    config = toy_config(vision={"num_hidden_layers": 12}).vision_config
    backbone = FaRLBackbone(config).eval()
    assert list(backbone.out_indices) == [3, 5, 7, 11]
    assert backbone.channels == [32] * 4
    images = pixels(48, 64)
    tower = FaRLVisionModel(config).eval()
    tower.load_state_dict(backbone.vision_model.state_dict(), strict=False)
    tower.set_attn_implementation("eager")
    hidden_states = tower(images, output_hidden_states=True).hidden_states
    maps = backbone(images).feature_maps
    for level, actual in zip((3, 5, 7, 11), maps, strict=True):
        expected = hidden_states[level + 1][:, 1:].reshape(2, 3, 4, 32).permute(0, 3, 1, 2)
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_backbone_levels_can_be_chosen(toy_config):
    backbone = FaRLBackbone(toy_config(vision={"out_indices": [1, 2]}).vision_config).eval()
    assert [tuple(level.shape) for level in backbone(pixels()).feature_maps] == [(2, 32, 2, 2)] * 2


def test_blocks_after_the_last_level_do_not_run(toy_model, toy_config):
    model = toy_model(FaRLVisionModel, toy_config().vision_config)
    ran = []
    for index, layer in enumerate(model.encoder.layers):
        layer.register_forward_hook(lambda *_, index=index: ran.append(index))
    model(pixels(), block_indices=[1, 0, 1])
    assert ran == [0, 1]


@pytest.mark.parametrize("gradients", [True, False])
def test_quick_gelu_is_clips_and_leaves_its_input_alone(gradients):
    inputs = torch.linspace(-30, 30, 1001, dtype=torch.float64)
    before = inputs.clone()
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(QuickGELU()(inputs), ACT2FN["quick_gelu"](inputs), rtol=1e-14, atol=0)
    assert inputs.equal(before)


def test_gradients_of_quick_gelu():
    inputs = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(QuickGELU(), inputs)
