"""One step of pre-training has the same loss and gradients however its sixteen pairs are split over processes."""

import pretraining_worker as worker
import pytest
import torch
from launched_scripts import start_forked
from open_clip.loss import ClipLoss

TOLERANCE = 1e-5  # relative to the largest gradient of a parameter, float32
# Keys' biases shift all scores of a row alike, so their gradients are zero but for rounding.
ZERO_GRADIENTS = "k_proj.bias"
DISTRIBUTIONS = ["ddp", "ddp, checkpointing"]
DISTRIBUTIONS += [f"zero-{stage}{and_this}" for stage in worker.ZERO_STAGES for and_this in ("", ", checkpointing")]


def step_alone(model):
    loss = model(**worker.make_pairs()).loss
    loss.backward()
    return loss.detach(), {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.fixture(scope="module")
def alone():
    """Loss and gradients of one process with all pairs."""
    return step_alone(worker.make_model())


@pytest.fixture(scope="module", params=[2, pytest.param(4, marks=pytest.mark.nightly)])
def together(request, tmp_path_factory):
    """What two or four processes computed; they are forked from a server that has imported everything once."""
    folder = tmp_path_factory.mktemp("processes")
    start_forked(worker.run_process, (request.param, folder), request.param)
    return torch.load(folder / f"results-{request.param}.pt")


def assert_equal_steps(actual, expected):
    (loss, gradients), (expected_loss, expected_gradients) = actual, expected
    assert loss.item() == pytest.approx(expected_loss.item(), rel=TOLERANCE)
    assert gradients.keys() == expected_gradients.keys()
    largest = max(gradient.abs().max() for gradient in expected_gradients.values())
    for name, gradient in expected_gradients.items():
        scale = largest if name.endswith(ZERO_GRADIENTS) else gradient.abs().max()
        error = (gradients[name] - gradient).abs().max() / scale
        assert error <= TOLERANCE, (name, error)


def test_the_reference_is_the_loss_of_open_clip(alone):
    """Otherwise all distributions could agree on something else."""
    model = worker.make_model()
    outputs = model(**worker.make_pairs())
    contrast = ClipLoss()(outputs.image_embeds, outputs.text_embeds, model.logit_scale.exp())
    torch.testing.assert_close(alone[0], (contrast + outputs.mim_loss).detach())
    assert all(gradient.abs().max() > 1e-6 for gradient in alone[1].values() if gradient.ndim > 1)


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_loss_and_gradients_are_those_of_one_process(together, alone, distribution):
    assert_equal_steps(together[distribution], alone)


def test_processes_agree_at_the_bound_of_the_temperature(together):
    """Some processes would raise the temperature and some lower it; the mean counts."""
    assert_equal_steps(together["ddp, temperature at its bound"], step_alone(worker.make_model(4.7)))


def test_unequal_batches_are_refused_instead_of_hanging(together):
    assert "pairs; contrast between processes needs equal batches. Drop the last" in together["unequal batches"]
