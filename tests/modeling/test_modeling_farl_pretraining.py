"""The pre-training model; tests/conversion/test_converted_pretraining.py compares it with the original's."""

import pytest
import torch
from open_clip.loss import ClipLoss
from safetensors.torch import load_file
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
    model = build(mim_num_hidden_layers=depth, itc_weight=0.5, mim_weight=2.0)
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
    torch.testing.assert_close(outputs.loss, 0.5 * outputs.itc_loss + 2.0 * outputs.mim_loss)


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


# ---- with words


def test_words_are_named_from_both_features(build):
    """Against the sum over words and captions, written out."""
    model, inputs = build(word_weight=2.0, mim_weight=0.0), make_inputs(masks=False)
    outputs = model(**inputs)
    text = model.config.text_config
    special = {text.bos_token_id, text.eos_token_id, text.pad_token_id}
    captions = [set(row) - special for row in inputs["input_ids"].tolist()]
    asked = sorted(set.union(*captions))
    assert asked
    per_word = []
    for features in (outputs.image_embeds, outputs.text_embeds):
        chances = torch.sigmoid(model.word_head(features * model.config.projection_dim**0.5)).double()
        logs = [
            -(chance[word] if word in caption else 1 - chance[word]).log()
            for chance, caption in zip(chances, captions, strict=True)
            for word in asked
        ]
        per_word.append(sum(logs) / sum(map(len, captions)))
    torch.testing.assert_close(outputs.word_loss.double(), sum(per_word) / 2, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(outputs.loss, outputs.itc_loss + 2.0 * outputs.word_loss)


def test_captions_without_words_cost_nothing(build):
    model, inputs = build(word_weight=1.0, mim_weight=0.0), make_inputs(masks=False)
    inputs["input_ids"] = torch.full_like(inputs["input_ids"], model.config.text_config.eos_token_id)
    assert model(**inputs).word_loss == 0


def test_features_alone_cost_no_words(build):
    model, inputs = build(word_weight=1.0, mim_weight=0.0), make_inputs(masks=False)
    with torch.no_grad():
        assert model(**inputs, return_loss=False).word_loss is None
        assert model(**inputs).word_loss is not None
    assert model(**inputs, return_loss=False).word_loss is not None


def test_words_teach_both_towers(build):
    model = build(word_weight=1.0)
    model(**make_inputs()).word_loss.backward()
    parts = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert {"word_head", "vision_model", "text_model", "visual_projection", "text_projection"} <= parts


@pytest.mark.parametrize(
    "model_class", [FaRLForPreTraining, FaRLModel, FaRLVisionModel, FaRLForAttributes, FaRLForMaskedImageModeling]
)
def test_the_words_classifier_may_be_left_out_on_loading(build, tmp_path, model_class):
    build(word_weight=1.0).save_pretrained(tmp_path)
    assert "word_head.weight" in load_file(tmp_path / "model.safetensors")
    changes = {"word_weight": 0.0} if model_class is FaRLForPreTraining else {}
    _, info = model_class.from_pretrained(tmp_path, output_loading_info=True, **changes)
    assert not info["unexpected_keys"]


# ---- with words of patches


def with_sentences(inputs, words=(5, 8)):
    sentences = torch.tensor([[97, 40, word, 98] for word in words])
    return inputs | {"word_ids": torch.tensor(words), "word_input_ids": sentences}


def patch_scores_of(model, pixel_values, word_input_ids):
    """Scores (B, N, A) and opposition (B, N), written out with what each patch adds to the class token."""
    tower, block = model.vision_model, model.vision_model.encoder.layers[-1]
    tokens = tower.block_outputs(pixel_values, [len(tower.encoder.layers) - 2])[0]
    attention = block.self_attn
    # Biases of values and output are the same for all patches; differences to a token of zeros have none.
    values = [attention.v_proj(block.layer_norm1(tokens)[:, 1:]), attention.v_proj(torch.zeros(32))]
    added = attention.out_proj(values[0] - values[1]) - attention.out_proj(torch.zeros(32))
    added = (added - added.mean(-1, keepdim=True)) * tower.post_layernorm.weight
    features = added @ model.visual_projection.weight.T
    own = functional.normalize(model.get_image_features(pixel_values).pooler_output, dim=-1)[:, None]
    along = (features * own).sum(-1, keepdim=True)
    scale = 20 / (features - along * own).norm(dim=-1).square().mean().sqrt()
    without = features - torch.where(along > 0, along, 0.0) * own
    sentences = functional.normalize(model.get_text_features(word_input_ids).pooler_output, dim=-1)
    return scale * without @ sentences.T, scale * torch.where(along < 0, -along, 0.0)[..., 0]


def test_patches_name_words(build):
    """Against the sum over pairs and words, written out with what each patch adds to the class token."""
    model = build(patch_word_weight=3.0, mim_weight=0.0)
    inputs = with_sentences(make_inputs(masks=False))
    outputs = model(**inputs)
    scores, opposition = patch_scores_of(model, inputs["pixel_values"], inputs["word_input_ids"])
    assert opposition.any()
    loss = torch.zeros(())
    mentioned = {(0, 0), (1, 1)}  # word 5 in the first caption, 8 in the second, none in the third
    for pair in range(PAIRS):
        for word in range(2):
            patches = scores[pair, :, word]
            score = patches.sort(descending=True).values[:4].mean()
            if (pair, word) in mentioned:
                loss = loss - 3 * torch.sigmoid(score).log() + 1.5 * (1 + patches.exp()).log().mean()
            else:
                loss = loss - (1 - torch.sigmoid(score)).log()
    expected = loss / 2 + 0.2 * opposition.mean()
    torch.testing.assert_close(outputs.patch_word_loss, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs.loss, outputs.itc_loss + 3.0 * outputs.patch_word_loss)


def test_words_of_patches_change_no_feature(build):
    inputs = with_sentences(make_inputs())
    plain, named = build()(**inputs), build(patch_word_weight=1.0)(**inputs)
    torch.testing.assert_close(named.image_embeds, plain.image_embeds)
    torch.testing.assert_close(named.mim_loss, plain.mim_loss)
    assert plain.patch_word_loss is None


def test_words_of_patches_teach_both_towers(build):
    model = build(patch_word_weight=1.0, mim_weight=0.0)
    model(**with_sentences(make_inputs(masks=False))).patch_word_loss.backward()
    parts = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert parts == {"vision_model", "text_model", "visual_projection", "text_projection"}


def test_a_batch_without_words_to_tell_apart_costs_opposition_only(build):
    """As a batch of one pair: its words are in all captions."""
    model, inputs = build(patch_word_weight=1.0, mim_weight=0.0), make_inputs(masks=False)
    none = {"word_ids": torch.zeros(0, dtype=torch.long), "word_input_ids": torch.zeros(0, 4, dtype=torch.long)}
    outputs = model(**inputs, **none)
    outputs.loss.backward()
    _, opposition = patch_scores_of(model, inputs["pixel_values"], torch.tensor([[97, 5, 98]]))
    torch.testing.assert_close(outputs.patch_word_loss, 0.2 * opposition.mean())
    torch.testing.assert_close(outputs.loss, outputs.itc_loss + outputs.patch_word_loss)


def test_words_of_patches_need_sentences(build):
    model, inputs = build(patch_word_weight=1.0, mim_weight=0.0), make_inputs(masks=False)
    with pytest.raises(ValueError, match="word_ids or word_input_ids are missing"):
        model(**inputs)
    with torch.no_grad():
        assert model(**inputs, return_loss=False).patch_word_loss is None


def mixed_by_hand(pixel_values, patchwork_pos):
    """Pictures of two, patch by patch."""
    mixed = pixel_values[: len(patchwork_pos)].clone()
    for picture, patches in enumerate(patchwork_pos.tolist()):
        for place, is_next in enumerate(patches):
            y, x = 16 * (place // 4), 16 * (place % 4)
            if is_next:
                other = pixel_values[(picture + 1) % PAIRS]
                mixed[picture, :, y : y + 16, x : x + 16] = other[:, y : y + 16, x : x + 16]
    return mixed


@pytest.mark.parametrize("pictures", [1, PAIRS])
def test_patches_of_two_pictures_name_their_own_words(build, pictures):
    """Against the sum over pictures and words, written out; scores are those of whole pictures, tested above."""
    model = build(patch_word_weight=1.0, patchwork_weight=2.0, mim_weight=0.0)
    inputs = with_sentences(make_inputs(masks=False), words=(5, 8, 40))
    inputs["input_ids"][:, 4] = 40  # a word that all have
    patchwork_pos = torch.rand(pictures, PATCHES) < 0.5
    outputs = model(**inputs, patchwork_pos=patchwork_pos)
    captions = [{5, 40}, {8, 40}, {40}]
    mixed = mixed_by_hand(inputs["pixel_values"], patchwork_pos)
    scores, _ = patch_scores_of(model, mixed, inputs["word_input_ids"])
    loss, mentions = torch.zeros(()), 0
    for picture in range(pictures):
        words_of_patches = [captions[(picture + int(is_next)) % PAIRS] for is_next in patchwork_pos[picture]]
        for index, word in enumerate((5, 8, 40)):
            own = torch.tensor([word in words for words in words_of_patches])
            patches = scores[picture, :, index]
            others, named = (patches[part].sort(descending=True).values[:4] for part in (~own, own))
            if len(others) == 4:
                loss = loss + (1 + others.mean().exp()).log()
            if len(named) == 4:
                loss = loss - (3 if own.all() else 1.5) * torch.sigmoid(named.mean()).log()
            loss = loss + 1.5 * torch.where(own, (1 + patches.exp()).log(), torch.zeros(())).mean()
            mentions += bool(own.any())
    torch.testing.assert_close(outputs.patchwork_loss, loss / mentions, atol=1e-4, rtol=1e-4)
    expected = outputs.itc_loss + outputs.patch_word_loss + 2.0 * outputs.patchwork_loss
    torch.testing.assert_close(outputs.loss, expected)


def test_patchwork_needs_places_and_words(build, toy_config):
    model = build(patch_word_weight=1.0, patchwork_weight=1.0, mim_weight=0.0)
    with pytest.raises(ValueError, match="patchwork_pos is missing"):
        model(**with_sentences(make_inputs(masks=False)))
    with pytest.raises(ValueError, match="patch_word_weight is 0"):
        toy_config(patchwork_weight=1.0)


@pytest.mark.parametrize("shape", [(PAIRS + 1, PATCHES), (1, PATCHES - 1), (PATCHES,)])
def test_patchwork_of_another_shape_is_refused(build, shape):
    model = build(patch_word_weight=1.0, patchwork_weight=1.0, mim_weight=0.0)
    with pytest.raises(ValueError, match=rf"patchwork_pos is of shape .*expected at most {PAIRS} rows of {PATCHES}"):
        model(**with_sentences(make_inputs(masks=False)), patchwork_pos=torch.zeros(shape, dtype=torch.bool))


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


@pytest.mark.parametrize(
    "setting",
    ["itc_weight", "mim_weight", "word_weight", "patch_word_weight", "patchwork_weight", "mim_num_hidden_layers"],
)
def test_negative_settings_are_refused(toy_config, setting):
    with pytest.raises(ValueError, match=rf"{setting}=-1.*must not be negative"):
        toy_config(**{setting: -1})


def test_words_of_patches_need_two_blocks(toy_config):
    with pytest.raises(ValueError, match="vision tower has one block only"):
        toy_config(patch_word_weight=1.0, vision={"num_hidden_layers": 1})


# ---- saving and loading


def test_save_and_load_give_equal_results(build, tmp_path):
    model, inputs = build(mim_num_hidden_layers=2, itc_weight=0.25), make_inputs()
    model.save_pretrained(tmp_path)
    loaded, info = FaRLForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    assert (loaded.config.mim_num_hidden_layers, loaded.config.itc_weight) == (2, 0.25)
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
