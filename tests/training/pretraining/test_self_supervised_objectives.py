"""SimCLR and SwAV: the formulas of their papers, the same over processes; an encoder that every head starts from."""

import sys

import numpy as np
import pytest
import torch
from launched_scripts import start_forked
from self_supervision_worker import make_features, make_objective, run_process

from farl_hf import FaRLForFaceParsing
from farl_hf.errors import MissingExtraError, UnknownNameError
from farl_hf.training.pretraining.self_supervised import FaRLForSelfSupervision
from farl_hf.training.pretraining.trainer import PretrainingModelArguments

NUM_PROCESSES = 2
OBJECTIVES = ("simclr", "swav")


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def nt_xent(first, second, temperature):
    """Equation 1 of Chen et al. 2020, averaged over all 2N views."""
    views = unit(np.concatenate([first, second]))
    similarities = np.exp(views @ views.T / temperature)
    others = similarities.sum(axis=1) - np.diag(similarities)
    partners = np.roll(np.arange(len(views)), len(first))
    return -np.log(similarities[np.arange(len(views)), partners] / others).mean()


def swapped_prediction(first, second, epsilon, temperature=0.1):
    """Equations 2 to 4 of Caron et al. 2020 for similarities (N, K) of two views; three Sinkhorn rounds."""

    def codes(similarities):
        plan = np.exp(similarities / epsilon)
        plan /= plan.sum()
        for _ in range(3):
            plan /= plan.sum(axis=0) * plan.shape[1]
            plan /= plan.sum(axis=1, keepdims=True) * plan.shape[0]
        return plan * len(plan)

    def cross_entropy(similarities, targets):
        scaled = similarities / temperature
        return -(targets * (scaled - np.log(np.exp(scaled).sum(axis=1, keepdims=True)))).sum(axis=1).mean()

    return (cross_entropy(first, codes(second)) + cross_entropy(second, codes(first))) / 2


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_simclr_is_its_equation(temperature):
    features = make_features()
    loss = make_objective("simclr", simclr_temperature=temperature)(features)
    first, second = features.detach().double().numpy().reshape(2, -1, features.shape[1])
    assert loss.item() == pytest.approx(nt_xent(first, second, temperature), rel=1e-5)


@pytest.mark.parametrize("epsilon", [0.02, 0.05])
def test_swav_is_its_equations(epsilon):
    objective, features = make_objective("swav", sinkhorn_epsilon=epsilon), make_features()
    loss = objective(features)
    prototypes = objective.prototypes.heads[0].weight.detach().double().numpy()
    np.testing.assert_allclose(np.linalg.norm(prototypes, axis=1), 1, rtol=1e-6)
    similarities = unit(features.detach().double().numpy()) @ prototypes.T
    assert loss.item() == pytest.approx(swapped_prediction(*np.split(similarities, 2), epsilon), rel=1e-5)


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """What two processes computed."""
    folder = tmp_path_factory.mktemp("processes")
    start_forked(run_process, (NUM_PROCESSES, folder), NUM_PROCESSES)
    return [torch.load(folder / f"{rank}.pt") for rank in range(NUM_PROCESSES)]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_all_faces_of_all_processes_are_compared(together, name):
    features = make_features()
    loss = make_objective(name)(features)
    (gradient,) = torch.autograd.grad(loss, features)
    losses, gradients = zip(*(results[name] for results in together), strict=True)
    assert torch.stack(losses).mean().item() == pytest.approx(loss.item(), rel=1e-5)
    # A process holds both views of its faces; averaging gradients over the processes divides by their number.
    parts = [part.chunk(2) for part in gradients]
    joined = torch.cat([torch.cat([views[place] for views in parts]) for place in (0, 1)]) / NUM_PROCESSES
    torch.testing.assert_close(joined, gradient, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_heads_start_from_the_saved_encoder(name, toy_config, tmp_path):
    config = toy_config()
    model = FaRLForSelfSupervision._from_config(
        config, settings=PretrainingModelArguments(objective=name, num_prototypes=8)
    )
    pixels = torch.randn(2, 4, 3, 32, 32)
    model(*pixels).loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.save_pretrained(tmp_path)
    parser, report = FaRLForFaceParsing.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not [key for key in report["missing_keys"] if key.startswith("vision_model")]
    saved = model.vision_model.state_dict()
    assert all(saved[key].equal(tensor) for key, tensor in parser.vision_model.state_dict().items())


def test_an_unknown_objective_is_named(toy_config):
    with pytest.raises(UnknownNameError, match=r"no self-supervised objective 'moco'\. Known: simclr, swav"):
        FaRLForSelfSupervision(toy_config(), PretrainingModelArguments(objective="moco"))


def test_the_missing_package_is_named(toy_config, monkeypatch):
    monkeypatch.setitem(sys.modules, "lightly.loss", None)
    with pytest.raises(MissingExtraError, match="self-supervision"):
        FaRLForSelfSupervision(toy_config(), PretrainingModelArguments(objective="simclr"))
