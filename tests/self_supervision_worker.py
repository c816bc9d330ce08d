"""One of the processes that compute a self-supervised loss together; a module of its own, so that it starts fast."""

import os

import torch
from torch import distributed, nn

from farl_hf.training.pretraining.self_supervised import SELF_SUPERVISED_OBJECTIVES
from farl_hf.training.pretraining.trainer import PretrainingModelArguments

NUM_FACES, NUM_PROTOTYPES, WIDTH = 8, 6, 128


def make_features():
    """Features (2 * faces, width), all first views before all second ones."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(NUM_FACES, WIDTH, generator=generator)
    second = first + torch.randn(NUM_FACES, WIDTH, generator=generator)
    return torch.cat([first, second]).requires_grad_()


def make_objective(name, **settings):
    """An objective whose projection head, with its batch norm of each process, is left out."""
    torch.manual_seed(0)
    settings = PretrainingModelArguments(objective=name, num_prototypes=NUM_PROTOTYPES, **settings)
    objective = SELF_SUPERVISED_OBJECTIVES[name](WIDTH, settings)
    objective.projector = nn.Identity()
    return objective


def run_process(rank, num_processes, folder):
    """Saves losses and gradients of this process's share of the faces."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(num_processes)}
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=num_processes)
    results = {}
    for name in SELF_SUPERVISED_OBJECTIVES:
        mine = make_features().detach().view(2, num_processes, -1, WIDTH)[:, rank].flatten(0, 1).requires_grad_()
        loss = make_objective(name)(mine)
        (gradient,) = torch.autograd.grad(loss, mine)
        results[name] = loss.detach(), gradient
    torch.save(results, folder / f"{rank}.pt")
    distributed.destroy_process_group()
