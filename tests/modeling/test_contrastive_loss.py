"""The contrastive loss in one process; tests/training/test_pretraining_processes.py has several."""

import math

import pytest
import torch
from open_clip.loss import ClipLoss

from farl_hf.modeling.modeling_farl import contrastive_loss, scaled_similarities
from farl_hf.modeling.modeling_farl_pretraining import bounded_logit_scale


def features(pairs=8, channels=5):
    return torch.nn.functional.normalize(torch.randn(pairs, channels), dim=-1).requires_grad_()


def test_loss_and_gradients_equal_those_of_open_clip():
    images, texts, scale = features(), features(), torch.tensor([14.3], requires_grad=True)
    results = []
    for loss_of in (contrastive_loss, ClipLoss()):
        loss = loss_of(images, texts, scale)
        results.append((loss, *torch.autograd.grad(loss, (images, texts, scale))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_perfect_and_useless_features_have_known_losses():
    useless = torch.ones(4, 1)
    assert contrastive_loss(useless, useless, torch.tensor(10.0)).item() == pytest.approx(math.log(4))
    perfect = torch.eye(4)
    expected = math.log(math.exp(2) + 3) - 2
    assert contrastive_loss(perfect, perfect, torch.tensor(2.0)).item() == pytest.approx(expected)


def test_autocast_and_half_features_do_not_round_similarities():
    images, texts, scale = features(), features(), torch.tensor([100.0])
    exact = scaled_similarities(images, texts, scale)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(scaled_similarities(images, texts, scale), exact)
        assert contrastive_loss(images.bfloat16(), texts.bfloat16(), scale).dtype == torch.float32


def test_unequal_numbers_of_images_and_texts_are_refused():
    with pytest.raises(ValueError, match=r"\(8, 5\) and text_embeds \(7, 5\); .*one text per image"):
        contrastive_loss(features(8), features(7), torch.tensor(1.0))


@pytest.mark.parametrize(("value", "push", "expected_gradient"), [
    (1.0, 1, 2.0), (1.0, -1, -2.0),  # below the bound, both directions pass
    (3.0, 1, 2.0), (3.0, -1, 0.0),  # at it, only the gradient by which descent lowers the value
    (3.5, 1, 2.0), (3.5, -1, 0.0),
])  # fmt: skip
def test_temperature_is_bounded_and_can_return(value, push, expected_gradient):
    log_scale = torch.tensor([value], requires_grad=True)
    scale = bounded_logit_scale(log_scale, 3.0)
    assert scale.item() == pytest.approx(math.exp(min(value, 3.0)))
    (push * 2.0 * scale.log()).sum().backward()
    assert log_scale.grad.item() == pytest.approx(expected_gradient)


def test_the_parameter_stays_at_the_bound_as_if_clamped():
    """Pushed upwards for long and then downwards, it leaves the bound at once: nothing has piled up beyond it."""
    log_scale = torch.nn.Parameter(torch.tensor([2.9]))
    optimizer = torch.optim.AdamW([log_scale], lr=0.02, betas=(0.9, 0.98), weight_decay=0.0)
    path = []
    for step in range(300):
        push = -1.0 if step < 200 else 1.0
        optimizer.zero_grad()
        (push * bounded_logit_scale(log_scale, 3.0)).sum().backward()
        optimizer.step()
        path.append(log_scale.item())
    assert max(path) < 3.2
    assert min(path[20:200]) >= 3.0 - 0.05
    assert path[240] < 3.0
