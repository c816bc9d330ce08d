"""`edit_latents` on a toy generator: gradients, what the weights do, and what it says to input that cannot be used."""

import copy

import numpy as np
import pytest
import torch

from farl_hf import (
    FaRLForAttributes,
    FaRLImageProcessor,
    InvalidFaceInputError,
    InvalidTextError,
    UnsuitableModelError,
)
from farl_hf.editing import edit_latents
from farl_hf.editing.face_alignment import FaceAlignment
from farl_hf.editing.latent_editing import ramped_learning_rate
from farl_hf.errors import InvalidArgumentError
from farl_hf.retrieval.face_embedding import FaceCutter, unit_image_features
from farl_hf.retrieval.text_embedding import embed_texts

TEXT = "a smiling person"


def text_loss_of(generator, model, processor, latents, aligned=False):
    """The loss of a text as a function of latents."""
    text_embeds = embed_texts(model, processor, TEXT)
    cutter = FaceCutter(model, processor, aligned)
    start_images = generator.images_from_latents(latents.detach())
    alignment = FaceAlignment(cutter, start_images, generator.points5_xy)

    def loss(latents):
        units = unit_image_features(model, alignment(generator.images_from_latents(latents)))
        return (1 - units @ text_embeds[0].to(units)).sum()

    return loss, alignment


@pytest.mark.parametrize("warp_factor", [0.0, 0.8])
def test_gradients_reach_latents_through_aligned_crops(farl, generator, warp_factor):
    """Finite differences in float64, through alignment (turn, scale, shift), warp, normalisation and encoder."""
    model, processor = copy.deepcopy(farl[0]).double(), copy.copy(farl[1])
    processor.image_processor = FaRLImageProcessor(size={"height": 32, "width": 32}, warp_factor=warp_factor)
    generator = generator.double()
    latents = generator.sample_latents(2).requires_grad_()
    loss, alignment = text_loss_of(generator, model, processor, latents)
    crops = alignment(generator.images_from_latents(latents.detach()))
    assert alignment.crop_from_photo[0, 0, 1].abs() > 0.05  # the crop is turned, so the pixels are interpolated
    assert crops.dtype == torch.float64
    assert torch.autograd.gradcheck(loss, latents, eps=1e-6, atol=1e-7, rtol=1e-4)
    (gradient,) = torch.autograd.grad(loss(latents), latents)
    assert (gradient.abs() > 1e-8).all()


def test_the_loss_falls_and_the_result_says_what_happened(image_text_model, generator):
    model, processor = image_text_model
    starts = generator.sample_latents(3)
    told = []
    edited = edit_latents(
        generator, model, processor, starts, TEXT, num_steps=30, l2_weight=0.001, progress=told.append
    )
    assert len(edited) == 3
    assert told == list(range(1, 31))
    assert (edited.similarities > edited.start_similarities + 0.003).all()
    assert torch.equal(edited.start_latents, starts)
    assert torch.equal(edited.start_images, generator.images_from_latents(starts))
    assert torch.equal(edited.images, generator.images_from_latents(edited.latents))
    assert {name: values.shape for name, values in edited.losses.items()} == dict.fromkeys(
        ("text", "l2", "total"), (30, 3)
    )
    assert np.allclose(edited.losses["text"][0], 1 - edited.start_similarities, atol=1e-6)
    assert np.allclose(edited.losses["total"], edited.losses["text"] + 0.001 * edited.losses["l2"], atol=1e-6)


def test_latents_in_half_precision_stay_finite_and_move(farl, generator):
    """Adam's squares of small gradients are 0 in float16, and the first rate is 0: together NaN."""
    start = generator.sample_latents(2).half()
    half = generator.half()
    settings = {"num_steps": 40, "l2_weight": 0.001}
    edited = edit_latents(half, *farl, start, TEXT, **settings)
    assert edited.latents.dtype == torch.float16
    assert torch.isfinite(edited.latents).all()
    assert (edited.latents - start).abs().max() > 1e-2


def test_latents_in_half_precision_keep_their_losses(farl, generator):
    latents = generator.sample_latents(1)
    edited = edit_latents(generator.bfloat16(), *farl, latents.bfloat16(), TEXT, num_steps=2, l2_weight=0.001)
    assert all(np.isfinite(losses).all() for losses in edited.losses.values())


def test_similarities_are_those_of_the_models_own_forward(image_text_model, generator):
    """Of crops that the image processor cuts from the drawn pictures; the model's logits are scaled similarities."""
    model, processor = image_text_model
    starts = generator.sample_latents(2)
    edited = edit_latents(generator, model, processor, starts, TEXT, num_steps=1)
    ids = processor.tokenizer([TEXT], return_tensors="pt")
    crops = FaRLImageProcessor(size={"height": 32, "width": 32})(
        list(generator.images_from_latents(starts)), keypoints=[generator.points5_xy[None].numpy()] * 2,
        return_tensors="pt", do_rescale=False, input_data_format="channels_first",
    )  # fmt: skip
    with torch.no_grad():
        logits = model(pixel_values=crops["pixel_values"], **ids).logits_per_image
    expected = logits[:, 0] / model.logit_scale.detach().exp()
    assert np.allclose(edited.start_similarities, expected.numpy(), atol=1e-5)


def test_faces_go_their_own_ways(farl, generator):
    starts = generator.sample_latents(3)
    together = edit_latents(generator, *farl, starts, TEXT, num_steps=8).latents
    alone = [edit_latents(generator, *farl, start[None], TEXT, num_steps=8).latents for start in starts]
    assert torch.allclose(together, torch.cat(alone), atol=1e-4)
    assert not torch.allclose(together, starts, atol=0.05)


def test_noise_of_crops_moves_all_faces_alike_and_is_repeatable(farl, generator):
    starts = generator.sample_latents(2)
    settings = {"num_steps": 8, "crop_noise": 0.1}
    together = edit_latents(generator, *farl, starts, TEXT, **settings)
    alone = [edit_latents(generator, *farl, start[None], TEXT, **settings).latents for start in starts]
    assert torch.allclose(together.latents, torch.cat(alone), atol=1e-4)
    still = edit_latents(generator, *farl, starts, TEXT, num_steps=8)
    assert not torch.allclose(together.latents, still.latents, atol=1e-3)
    assert np.array_equal(together.start_similarities, still.start_similarities)  # measured without noise


def test_random_motion_scales_about_the_centre_and_shifts(farl, generator):
    alignment = FaceAlignment(FaceCutter(*farl, True), torch.rand(1, 3, 40, 36))
    random = torch.Generator().manual_seed(0)
    centre = torch.tensor([16.0, 16, 1])
    motions = torch.stack([alignment.random_motion(0.05, random) for _ in range(400)])
    shifts = (motions @ centre)[:, :2] - 16
    assert torch.allclose(shifts.std(dim=0), torch.tensor(0.05 * 32), atol=0.15)
    assert abs(float(motions[:, 0, 0].std()) - 0.05) < 0.005
    assert torch.equal(motions[:, 0, 0], motions[:, 1, 1])


def test_the_l2_weight_holds_the_start(farl, generator):
    starts = generator.sample_latents(2)
    moved = [
        (edit_latents(generator, *farl, starts, TEXT, num_steps=40, l2_weight=weight).latents - starts).norm()
        for weight in (0.0, 0.05, 10.0)
    ]
    assert moved[0] > 1.5 * moved[1] > 1.5 * 1.5 * moved[2]
    assert moved[2] < 0.05


def test_the_identity_term_keeps_what_it_looks_at(farl, generator):
    def mean_colour(images):
        return images.mean(dim=(-2, -1)) - 0.4

    starts = generator.sample_latents(2)
    changes = {}
    for weight in (0.0, 20.0):
        settings = {"identity_weight": weight, "identity_embedding": mean_colour} if weight else {}
        edited = edit_latents(generator, *farl, starts, TEXT, num_steps=40, l2_weight=0, **settings)
        assert ("identity" in edited.losses) == bool(weight)
        before, after = mean_colour(edited.start_images), mean_colour(edited.images)
        changes[weight] = 1 - torch.nn.functional.cosine_similarity(before, after).min()
    assert changes[20.0] < 0.2 * changes[0.0]


def test_networks_are_left_as_they_were(farl, generator):
    model, processor = farl
    before = {name: values.clone() for name, values in model.state_dict().items()}
    model.train()
    try:
        with torch.inference_mode():
            edit_latents(generator, model, processor, generator.sample_latents(1), TEXT, num_steps=2)
        assert model.training
    finally:
        model.eval()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(values.equal(before[name]) for name, values in model.state_dict().items())


def test_the_rate_rises_and_falls():
    """Numbers of orpatashnik/StyleCLIP's `get_lr` at 300 steps and a rate of 0.1."""
    rates = [ramped_learning_rate(step, 300, 0.1) for step in (0, 6, 15, 150, 225, 262, 299)]
    assert np.allclose(rates, [0, 0.04, 0.1, 0.1, 0.1, 0.0510471, 4.38e-5], atol=1e-6)


def test_aligned_takes_the_whole_picture(farl, generator):
    starts = generator.sample_latents(1)
    edited = edit_latents(generator, *farl, starts, TEXT, num_steps=1, aligned=True)
    assert torch.allclose(edited.crop_from_photo[0].diagonal(), torch.tensor([32 / 36, 32 / 40, 1.0]))


def test_faces_are_searched_where_the_generator_does_not_know(farl, generator):
    generator.points5_xy = None
    starts = generator.sample_latents(2)
    seen = []

    def detector(photo, **settings):
        seen.append(photo.size)
        points = [[12.0, 16], [23, 14], [18, 21], [14, 27], [23, 25]]
        return [{"score": 0.9, "box": {"xmin": 5, "ymin": 5, "xmax": 30, "ymax": 35}, "keypoints": points}]

    edited = edit_latents(generator, *farl, starts, TEXT, num_steps=3, detector=detector)
    assert seen == [(36, 40)] * 2  # once per face, not per step
    assert edited.crop_from_photo.shape == (2, 3, 3)
    with pytest.raises(InvalidFaceInputError, match="No face was found in picture 0"):
        edit_latents(generator, *farl, starts, TEXT, num_steps=3, detector=lambda photo: [])


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"text": " "}, InvalidTextError, "says nothing"),
        ({"text": ["a smile", "a hat"]}, InvalidTextError, "one sentence"),
        ({"latents": torch.zeros(2, 5)}, InvalidArgumentError, r"shape \(2, 5\); the generator takes \(N, 6\)"),
        ({"latents": torch.zeros(0, 6)}, InvalidArgumentError, "at least 1"),
        ({"latents": torch.full((1, 6), torch.nan)}, InvalidArgumentError, "NaN"),
        ({"num_steps": 0}, InvalidArgumentError, "at least one step"),
        ({"learning_rate": 0.0}, InvalidArgumentError, "above 0"),
        ({"num_steps": 1.5}, InvalidArgumentError, "at least one step"),
        ({"learning_rate": float("inf")}, InvalidArgumentError, "learning_rate is inf"),
        ({"l2_weight": float("nan")}, InvalidArgumentError, "l2_weight is nan"),
        ({"crop_noise": "much"}, InvalidArgumentError, "crop_noise is 'much'"),
        ({"latents": torch.zeros(1, 6, dtype=torch.int64)}, InvalidArgumentError, "floating-point"),
        ({"latents": np.zeros((1, 6))}, InvalidArgumentError, "floating-point"),
        ({"crop_noise": 7}, InvalidArgumentError, "crop_noise is 7"),
        ({"identity_weight": 1.0}, InvalidArgumentError, "identity_embedding"),
    ],
)
def test_what_cannot_be_done_is_said(farl, generator, changes, error, said):
    settings = {"latents": generator.sample_latents(1), "text": TEXT} | changes
    with pytest.raises(error, match=said):
        edit_latents(generator, *farl, **settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda images: images * 2 - 1, r"lie in \[-[01]\.\d\d, [01]\.\d\d\]; expected RGB in \[0, 1\]"),
        (lambda images: images * torch.nan, r"lie in \[nan, nan\]"),
        (lambda images: images[:, :1], r"pictures of shape \(1, 1, 40, 36\)"),
    ],
)
def test_pictures_that_are_none_are_refused(farl, generator, change, said):
    draw = generator.images_from_latents
    generator.images_from_latents = lambda latents: change(draw(latents))
    with pytest.raises(InvalidFaceInputError, match=said):
        edit_latents(generator, *farl, generator.sample_latents(1), TEXT)


def test_a_model_without_text_encoder_is_refused(toy_model, generator):
    model = toy_model(FaRLForAttributes)
    with pytest.raises(UnsuitableModelError, match="no text encoder"):
        edit_latents(generator, model, FaRLImageProcessor(), generator.sample_latents(1), TEXT)
