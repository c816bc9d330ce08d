"""Grad-CAM against autograd through the whole model, and against the grad-cam package; roll-out against attentions."""

import copy
import functools

import pytest
import torch
from image_text_toys import TEXT, VISION, make_clip
from torch.nn.functional import interpolate
from transformers import CLIPConfig, CLIPModel

from farl_hf import FaRLForAttributes, FaRLForFaceParsing, FaRLModel, FaRLVisionModel
from farl_hf.explanation.heat_map_methods import ExplainedScores, attention_rollout, explained_scores, grad_cam
from farl_hf.explanation.vision_layers import default_layer
from farl_hf.retrieval.text_embedding import PLAIN, embed_texts

TEXTS = ("a smile", "eyeglasses", "a man with a hat")


@pytest.fixture
def pixel_values():
    return torch.randn(2, 3, 32, 32)


def full_grad_cam(scores_of, layer, pixel_values):
    """The definition, with the graph of the whole network: gradients of each score of each face on its own."""
    maps = []
    for face in pixel_values.split(1):
        seen = []
        handle = layer.register_forward_hook(
            lambda module, inputs, output, seen=seen: seen.append(output[0] if isinstance(output, tuple) else output)
        )
        scores = scores_of(face)[0]
        handle.remove()
        for score in scores:
            (gradient,) = torch.autograd.grad(score, seen[0], retain_graph=True)
            weight = gradient[0, 1:].mean(0)
            maps.append((seen[0][0, 1:] @ weight).clamp(min=0).detach())
    side = round(len(maps[0]) ** 0.5)
    return torch.stack(maps).reshape(len(pixel_values), -1, side, side)


@pytest.mark.parametrize("name", [None, "layers.0.self_attn", "layers.1", "layers.1.mlp", "layers.2.layer_norm1"])
def test_a_text_equals_autograd_through_everything(image_text_model, pixel_values, name):
    model, processor = image_text_model
    scores = explained_scores(model, processor, TEXTS, PLAIN)
    encoder = model.vision_model
    values, maps = grad_cam(encoder, scores, name or default_layer(encoder), pixel_values)
    layer = encoder.encoder.get_submodule(name or "layers.2.layer_norm1")
    ids = processor.tokenizer(list(TEXTS), padding="max_length", return_tensors="pt")

    def logits_over_temperature(face):
        return model(**ids, pixel_values=face).logits_per_image / model.logit_scale.exp()

    expected = full_grad_cam(logits_over_temperature, layer, pixel_values)
    assert expected.amax() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.amax()))
    torch.testing.assert_close(values, logits_over_temperature(pixel_values).detach(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["layers.3.layer_norm1", "layers.3", "layers.1.mlp"])
def test_attributes_equal_autograd_through_everything(toy_model, pixel_values, name):
    model = toy_model(FaRLForAttributes)
    scores = explained_scores(model, None, ("LABEL_3", "LABEL_0"), PLAIN)
    values, maps = grad_cam(model.vision_model, scores, name, pixel_values)
    layer = model.vision_model.encoder.get_submodule(name)
    expected = full_grad_cam(lambda face: model(face).logits[:, [3, 0]], layer, pixel_values)
    assert expected.amax() > 0
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.amax()))
    torch.testing.assert_close(values, model(pixel_values).logits[:, [3, 0]].detach())


def test_a_class_is_explained_over_the_pixels_where_it_wins(toy_model, pixel_values):
    model = toy_model(FaRLForFaceParsing)
    winners = model(pixel_values).logits.argmax(1)
    first, absent = int(winners[0, 0, 0]), 4
    with torch.no_grad():
        model.head.classifier.bias[absent] = -1e4
    scores = explained_scores(model, None, (f"LABEL_{first}", f"LABEL_{absent}"), PLAIN)
    values, maps = grad_cam(model.vision_model, scores, "layers.3.layer_norm1", pixel_values)

    def mean_over_region(face):
        logits = model(face).logits[0]
        region = logits.argmax(0) == first
        return torch.stack([logits[first][region].mean(), logits[absent].sum() * 0])[None]

    layer = model.vision_model.encoder.get_submodule("layers.3.layer_norm1")
    expected = full_grad_cam(mean_over_region, layer, pixel_values)
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-5 * float(expected.amax()))
    assert maps[:, 0].amax() > 0
    assert not maps[:, 1].any()
    assert values[0, 1] == 0


def test_nothing_below_the_layer_is_differentiated_and_the_encoder_runs_once(farl, pixel_values):
    model, processor = farl
    recording, handles = [], []
    for block in model.vision_model.encoder.layers:
        handles.append(block.self_attn.register_forward_pre_hook(lambda *_: recording.append(torch.is_grad_enabled())))
    scores = explained_scores(model, processor, TEXTS, PLAIN)
    grad_cam(model.vision_model, scores, "layers.1.layer_norm1", pixel_values)
    for handle in handles:
        handle.remove()
    # The last block's attention is not called as a module: it is computed for the class token alone.
    assert recording == [False, True]
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_model_is_left_as_it_was(farl, pixel_values):
    model, processor = farl
    before = model.get_image_features(pixel_values).pooler_output
    scores = explained_scores(model, processor, TEXTS, PLAIN)

    def failing(pixel_values):
        scores.compute(pixel_values)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        grad_cam(model.vision_model, ExplainedScores(TEXTS, failing, True), "layers.0.mlp", pixel_values)
    assert "forward" not in vars(model.vision_model.encoder.layers[-1])
    assert all(not module._forward_hooks for module in model.modules())
    assert torch.is_grad_enabled()
    assert torch.equal(model.get_image_features(pixel_values).pooler_output, before)


def test_inference_mode_and_half_precision_change_nothing_much(farl, pixel_values):
    model, processor = farl
    encoder, layer = model.vision_model, default_layer(model.vision_model)
    _, plain = grad_cam(encoder, explained_scores(model, processor, TEXTS, PLAIN), layer, pixel_values)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            _, inside = grad_cam(
                encoder, explained_scores(model, processor, TEXTS, PLAIN), layer, pixel_values.clone()
            )
        torch.testing.assert_close(inside, plain)
    half = copy.deepcopy(model).to(torch.bfloat16)
    scores = explained_scores(half, processor, TEXTS, PLAIN)
    _, coarse = grad_cam(half.vision_model, scores, layer, pixel_values.bfloat16())
    assert coarse.dtype == torch.float32
    assert torch.corrcoef(torch.stack([coarse.flatten(), plain.flatten()]))[0, 1] > 0.98


def test_it_equals_the_grad_cam_package(image_text_model, pixel_values):
    package = pytest.importorskip("pytorch_grad_cam")
    model, processor = image_text_model
    texts = embed_texts(model, processor, TEXTS)

    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, pixel_values):
            features = model.get_image_features(pixel_values=pixel_values).pooler_output
            # Enlarged, because the package adds 1e-7 to what it divides by.
            return 1000 * torch.nn.functional.normalize(features, dim=-1) @ texts.t()

    layer = model.vision_model.encoder.layers[-1].layer_norm1
    cam = package.GradCAM(Scores(), [layer], reshape_transform=lambda x: x[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))
    scores = explained_scores(model, processor, TEXTS, PLAIN)
    _, maps = grad_cam(model.vision_model, scores, default_layer(model.vision_model), pixel_values)
    for column in range(len(TEXTS)):
        target = package.utils.model_targets.ClassifierOutputTarget(column)
        expected = torch.from_numpy(cam(pixel_values, [target] * len(pixel_values)))
        ours = interpolate(maps[:, column : column + 1], size=(32, 32), mode="bilinear", align_corners=False)[:, 0]
        ours = ours - ours.amin(dim=(1, 2), keepdim=True)
        ours = ours / ours.amax(dim=(1, 2), keepdim=True)
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-5)


def product_of_attentions(attentions):
    """The definition: the class token's row of the product of all blocks' matrices."""
    product = torch.eye(attentions[0].shape[-1])
    for attention in attentions:
        product = (0.5 * attention.mean(1) + 0.5 * torch.eye(attention.shape[-1])) @ product
    return product[:, 0, 1:]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_rollout_equals_the_product_of_the_attentions(pixel_values, attention):
    torch.manual_seed(0)
    config = CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
    model = CLIPModel._from_config(config, attn_implementation="eager").eval()
    outputs = model.vision_model(pixel_values=pixel_values, output_attentions=True)
    expected = product_of_attentions(outputs.attentions).unflatten(1, (4, 4))
    model.set_attn_implementation(attention)
    torch.testing.assert_close(attention_rollout(model.vision_model, pixel_values)[:, 0], expected)


def test_rollout_of_farls_vision_encoder(toy_model, pixel_values):
    torch.manual_seed(0)
    encoder = toy_model(FaRLVisionModel, config=make_farl_vision_config())
    rollout = attention_rollout(encoder, pixel_values)
    assert rollout.shape == (2, 1, 4, 4)
    # Together with what stays on the class token (at least a half per block) the shares are one.
    assert ((rollout.sum((2, 3)) > 0) & (rollout.sum((2, 3)) < 1 - 0.5**3 + 1e-6)).all()


def make_farl_vision_config():
    from farl_hf import FaRLVisionConfig

    return FaRLVisionConfig(**VISION)


def test_the_class_token_is_enough_of_the_last_block(pixel_values):
    from farl_hf.explanation.vision_layers import last_block_on_class_token

    for model in (make_clip(1)[0], FaRLModel(make_image_text_config()).eval()):
        expected = model.get_image_features(pixel_values=pixel_values).pooler_output
        with last_block_on_class_token(model.vision_model):
            outputs = model.get_image_features(pixel_values=pixel_values)
        assert outputs.last_hidden_state.shape[1] == 1
        torch.testing.assert_close(outputs.pooler_output, expected)


def test_a_forward_of_ones_own_is_put_back(pixel_values):
    """accelerate replaces the forward of blocks that lie on several devices."""
    from farl_hf.explanation.vision_layers import last_block_on_class_token

    vision_model = FaRLModel(make_image_text_config()).eval().vision_model
    block = vision_model.encoder.layers[-1]
    own = block.forward = functools.partial(block.forward)
    with last_block_on_class_token(vision_model):
        assert block.forward is not own
    assert block.forward is own


def make_image_text_config():
    from farl_hf import FaRLConfig

    return FaRLConfig(text_config=TEXT, vision_config=VISION, projection_dim=16)
