"""The pre-training model; tests/conversion/test_converted_pretraining.py compares it with the original's."""

import json
import logging

import pytest
import torch
from open_clip.loss import ClipLoss
from safetensors.torch import load_file, save_file
from torch.nn import functional
from transformers import AutoModel, AutoModelForMaskedImageModeling, AutoModelForPreTraining

from farl_hf import FaRLForAttributes, FaRLForMaskedImageModeling, FaRLForPreTraining, FaRLModel, FaRLVisionModel

PAIRS, PATCHES, VOCABULARY = 3, 16, 20


def make_inputs(masks=True):
    ids = torch.tensor([[97, 5, 6, 7, 98, 98], [97, 8, 9, 98, 98, 98], [97, 3, 98, 98, 98, 98]])
    inputs = {"input_ids": ids, "pixel_values": torch.randn(PAIRS, 3, 64, 64)}
    if masks:
        inputs["bool_masked_pos"] = torch.rand(PAIRS, PATCHES) < 0.4
        inputs["mim_labels"] = torch.randint(VOCABULARY, (PAIRS, PATCHES))
    return inputs


@pytest.fixture
def build(toy_model):
    def build(model_class=FaRLForPreTraining, **settings):
        return toy_model(model_class, mim_vocab_size=VOCABULARY, vision={"image_size": 64}, **settings)

    return build


# ---- losses


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_losses_and_their_sum(build, depth):
    model = build(mim_num_hidden_layers=depth, mim_weight=2.0)
    assert len(model.mim_encoder.layers) == depth
    inputs = make_inputs()
    mask, labels = inputs["bool_masked_pos"], inputs["mim_labels"]
    outputs = model(**inputs)
    expected = ClipLoss()(outputs.image_embeds, outputs.text_embeds, model.logit_scale.exp())
    torch.testing.assert_close(outputs.itc_loss, expected)
    assert outputs.mim_logits.shape == (mask.sum(), VOCABULARY)
    rows = outputs.mim_logits.split(mask.sum(dim=1).tolist())
    means = [functional.cross_entropy(row, labels[index][mask[index]]) for index, row in enumerate(rows)]
    torch.testing.assert_close(outputs.mim_loss, torch.stack(means).mean())
    torch.testing.assert_close(outputs.loss, outputs.itc_loss + 2.0 * outputs.mim_loss)


def test_every_parameter_of_the_branch_is_trained(build):
    model = build(mim_num_hidden_layers=2)
    model(**make_inputs()).loss.backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert model.mask_token.grad.abs().max() > 0


def test_features_are_those_of_the_two_tower_model(build):
    """The clean half of the joint pass does not see the masks."""
    model, inputs = build(), make_inputs()
    outputs = model(**inputs)
    two_towers = build(FaRLModel)
    two_towers.load_state_dict(model.state_dict(), strict=False)
    expected = two_towers(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"], return_loss=True)
    torch.testing.assert_close(outputs.itc_loss, expected.loss)
    for name in ("image_embeds", "text_embeds", "logits_per_image", "logits_per_text"):
        torch.testing.assert_close(outputs[name], expected[name], atol=1e-5, rtol=1e-5)


def test_masked_patches_are_not_seen(build):
    """What stands under the mask changes no score, what stands beside it does."""
    model, inputs = build(), make_inputs()
    mask = torch.zeros(PAIRS, PATCHES, dtype=torch.bool)
    mask[:, 6] = True  # second row, third column
    inputs["bool_masked_pos"] = mask
    before = model(**inputs).mim_logits
    hidden, shown = inputs["pixel_values"].clone(), inputs["pixel_values"].clone()
    hidden[:, :, 16:32, 32:48] = 3.0
    shown[:, :, 16:32, 16:32] = 3.0
    torch.testing.assert_close(model(**inputs | {"pixel_values": hidden}).mim_logits, before)
    assert (model(**inputs | {"pixel_values": shown}).mim_logits - before).abs().max() > 1e-4


def test_labels_of_visible_patches_and_minus_100_are_ignored(build):
    model, inputs = build(), make_inputs()
    mask, labels = inputs["bool_masked_pos"], inputs["mim_labels"]
    expected = model(**inputs).mim_loss
    torch.testing.assert_close(model(**inputs | {"mim_labels": labels.masked_fill(~mask, -100)}).mim_loss, expected)
    unknown = labels.clone()
    unknown[0] = -100
    outputs = model(**inputs | {"mim_labels": unknown})
    losses = functional.cross_entropy(outputs.mim_logits, labels[mask], reduction="none").split(mask.sum(1).tolist())
    torch.testing.assert_close(outputs.mim_loss, (losses[1].mean() + losses[2].mean()) / 3)


@pytest.mark.parametrize("masked_rows", [0, 1, PAIRS])
def test_images_without_or_all_of_masks_give_finite_gradients(build, masked_rows):
    model, inputs = build(), make_inputs()
    mask = torch.zeros(PAIRS, PATCHES, dtype=torch.bool)
    mask[:masked_rows] = True
    outputs = model(**inputs | {"bool_masked_pos": mask})
    assert outputs.mim_logits.shape == (masked_rows * PATCHES, VOCABULARY)
    assert (outputs.mim_loss > 0) == (masked_rows > 0)
    outputs.loss.backward()
    # Also of the branch: distributed training waits for the gradient of every parameter.
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_the_split_of_a_batch_does_not_change_the_masked_loss(build):
    """Images differ in their number of masked patches; a mean over all patches of a part would not do."""
    model, inputs = build(), make_inputs()
    whole = model(**inputs).mim_loss
    parts = [model(**{name: value[i : i + 1] for name, value in inputs.items()}).mim_loss for i in range(PAIRS)]
    torch.testing.assert_close(torch.stack(parts).mean(), whole)


def test_losses_and_features_stay_in_float32(build):
    model, inputs = build(), make_inputs()
    exact = model(**inputs)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = model(**inputs)
    rough = model.to(torch.bfloat16)(**inputs)
    for outputs in (mixed, rough):
        assert outputs.mim_logits.dtype == torch.bfloat16
        for name in ("loss", "itc_loss", "mim_loss", "logit_scale", "image_embeds", "text_embeds"):
            assert outputs[name].dtype == torch.float32, name
        assert outputs.loss.item() == pytest.approx(exact.loss.item(), rel=0.02)


def test_temperature_is_bounded(build):
    model = build(logit_scale_init_value=6.0)
    outputs = model(**make_inputs())
    assert outputs.logit_scale.item() == pytest.approx(100.0)
    assert outputs.logits_per_image.abs().max() <= 100.001


@pytest.mark.parametrize("depth", [0, 2])
def test_gradient_checkpointing_changes_no_gradient(build, depth):
    model, inputs = build(mim_num_hidden_layers=depth).train(), make_inputs()

    def gradients():
        model.zero_grad()
        model(**inputs).loss.backward()
        return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}

    plain = gradients()
    model.gradient_checkpointing_enable()
    layers = [*model.vision_model.encoder.layers, *model.text_model.encoder.layers, *model.mim_encoder.layers]
    assert all(layer.gradient_checkpointing for layer in layers)
    for name, gradient in gradients().items():
        torch.testing.assert_close(gradient, plain[name], msg=name)


# ---- with parts left out


def test_without_masked_image_modelling_there_is_no_branch(build):
    model = build(mim_weight=0.0)
    assert not [name for name in model.state_dict() if name.startswith(("mim_", "mask_token"))]
    outputs = model(**make_inputs(masks=False))
    torch.testing.assert_close(outputs.loss, outputs.itc_loss)
    assert outputs.mim_loss is None
    assert outputs.mim_logits is None
    torch.testing.assert_close(model(**make_inputs()).mim_loss, None)


def test_features_alone_need_no_masks(build):
    model, inputs = build(), make_inputs()
    pairs = {name: inputs[name] for name in ("input_ids", "pixel_values")}
    alone, joint = model(**pairs, return_loss=False), model(**inputs)
    assert alone.loss is alone.itc_loss is alone.mim_loss is alone.mim_logits is None
    torch.testing.assert_close(alone.image_embeds, joint.image_embeds, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(alone.text_embeds, joint.text_embeds)
    masked = model(**inputs, return_loss=False)
    assert masked.loss is masked.itc_loss is None
    torch.testing.assert_close(masked.mim_loss, joint.mim_loss)


def test_masked_image_model_scores_as_the_joint_pass(build):
    whole, inputs = build(), make_inputs()
    part = build(FaRLForMaskedImageModeling)
    part.load_state_dict(whole.state_dict(), strict=False)
    expected = whole(**inputs)
    outputs = part(inputs["pixel_values"], inputs["bool_masked_pos"], labels=inputs["mim_labels"])
    torch.testing.assert_close(outputs.logits, expected.mim_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs.loss, expected.mim_loss)


# ---- refusals


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bool_masked_pos": None}, r"bool_masked_pos is missing, expected \(3, 16\): one row per image.*16 x 16 pix"),
        ({"bool_masked_pos": torch.ones(3, 4, 4)}, r"of shape \(3, 4, 4\), expected \(3, 16\)"),
        ({"bool_masked_pos": torch.ones(2, 16)}, r"of shape \(2, 16\), expected \(3, 16\)"),
        ({"mim_labels": None}, r"mim_labels are missing: pass the visual token of every patch, or set mim_weight=0"),
        ({"mim_labels": torch.ones(3, 15).long()}, r"visual tokens are \(3, 15\), expected \(3, 16\)"),
    ],
)
def test_wrong_masks_are_refused(build, change, message):
    with pytest.raises(ValueError, match=message):
        build()(**make_inputs() | change)


@pytest.mark.parametrize("setting", ["mim_weight", "mim_num_hidden_layers"])
def test_negative_settings_are_refused(toy_config, setting):
    with pytest.raises(ValueError, match=rf"{setting}=-1 .*from 0 to"):
        toy_config(**{setting: -1})


# ---- saving and loading


def test_save_and_load_give_equal_results(build, tmp_path):
    model, inputs = build(mim_num_hidden_layers=2, mim_weight=0.25), make_inputs()
    model.save_pretrained(tmp_path)
    loaded, info = FaRLForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert (loaded.config.mim_num_hidden_layers, loaded.config.mim_weight) == (2, 0.25)
    torch.testing.assert_close(loaded(**inputs).loss, model(**inputs).loss)


def test_saved_names_are_those_of_converted_checkpoints(build, tmp_path):
    build().save_pretrained(tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert len([name for name in names if name.startswith(("mim_", "mask_token"))]) == 21
    assert {"mask_token", "mim_layer_norm.weight", "mim_head.bias"} < names
    assert "mim_encoder.layers.0.self_attn.q_proj.weight" in names


@pytest.mark.parametrize("model_class", [FaRLModel, FaRLVisionModel, FaRLForAttributes, FaRLForMaskedImageModeling])
def test_parts_load_from_a_pretraining_checkpoint_without_a_word(build, tmp_path, model_class):
    whole = build()
    whole.save_pretrained(tmp_path)
    part, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert all(name.startswith("head.") for name in info["missing_keys"])
    tower = part.vision_model if hasattr(part, "vision_model") else part
    for name, value in tower.state_dict().items():
        assert torch.equal(value, whole.vision_model.state_dict()[name]), name


WORD_FIELDS = {"word_weight": 2.0, "patch_word_weight": 1.0, "patchwork_weight": 1.0}


@pytest.mark.parametrize(
    "model_class", [FaRLForPreTraining, FaRLModel, FaRLVisionModel, FaRLForAttributes, FaRLForMaskedImageModeling]
)
def test_weights_of_words_of_version_0_1_are_ignored(build, tmp_path, model_class):
    whole = build()
    whole.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    words = {"word_head.weight": torch.randn(99, 16), "word_head.bias": torch.randn(99)}
    save_file(tensors | words, tmp_path / "model.safetensors", metadata={"format": "pt"})
    settings = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(settings | WORD_FIELDS))
    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["unexpected_keys"]
    for name, value in loaded.state_dict().items():
        if name in tensors:
            assert torch.equal(value, tensors[name]), name


def test_ignored_fields_are_named_in_one_info_line(toy_config, caplog):
    logger = logging.getLogger("farl_hf.modeling.configuration_farl")
    with caplog.at_level(logging.INFO, logger=logger.name):
        config = toy_config(**WORD_FIELDS)
    lines = [record.getMessage() for record in caplog.records if record.name == logger.name]
    assert len(lines) == 1
    assert all(name in lines[0] for name in WORD_FIELDS)
    assert not WORD_FIELDS.keys() & config.to_dict().keys()


def test_blocks_of_the_branch_that_do_not_fit_are_reported(build, tmp_path):
    build(mim_num_hidden_layers=2).save_pretrained(tmp_path)
    _, info = FaRLForPreTraining.from_pretrained(tmp_path, mim_num_hidden_layers=1, output_loading_info=True)
    assert info["unexpected_keys"]
    assert all(name.startswith("mim_encoder.layers.1.") for name in info["unexpected_keys"])
    _, info = FaRLForPreTraining.from_pretrained(tmp_path, mim_weight=0.0, output_loading_info=True)
    assert not any(info.values()), info


def test_a_new_branch_on_loaded_towers_is_initialised(build, tmp_path):
    build(FaRLModel).save_pretrained(tmp_path)
    loaded, info = FaRLForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert {name.split(".")[0] for name in info["missing_keys"]} == {
        *("mask_token", "mim_encoder", "mim_layer_norm", "mim_head")
    }
    assert 0.5 * 32**-0.5 < loaded.mask_token.std().item() < 2 * 32**-0.5
    assert loaded.mim_head.weight.std().item() == pytest.approx(0.02, rel=0.3)
    assert torch.equal(loaded.mim_layer_norm.weight, torch.ones(32))


def test_auto_classes_know_the_models(build, tmp_path):
    build().save_pretrained(tmp_path)
    assert type(AutoModelForPreTraining.from_pretrained(tmp_path)) is FaRLForPreTraining
    assert type(AutoModelForMaskedImageModeling.from_pretrained(tmp_path)) is FaRLForMaskedImageModeling
    assert type(AutoModel.from_pretrained(tmp_path)) is FaRLModel


@pytest.mark.parametrize("model_class", [FaRLForPreTraining, FaRLForMaskedImageModeling])
def test_trainer_and_deepspeed_duties(build, model_class):
    model = build(model_class)
    assert model.accepts_loss_kwargs is False
    assert all(parameter.ndim > 0 for parameter in model.parameters())
    assert model.get_input_embeddings() is not None
