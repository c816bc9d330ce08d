"""Muon for the matrices inside transformer blocks, AdamW for everything else, as one optimizer.

Muon (Jordan et al., 2024; `torch.optim.Muon`) orthogonalises the momentum of a matrix. Small transformers leave the
plateau at the start of training in fewer steps with it. Not in the paper, whose recipes use AdamW alone.
"""

import re
from typing import Any

import torch
from torch import nn

from farl_hf.errors import InvalidFaceInputError

__all__ = ["MuonWithAdamW", "with_muon"]

# Blocks of FaRL's towers and masked-image branch, of timm's ViTs, and of Transformers'.
_IN_A_BLOCK = re.compile(r"\.(layers?|blocks)\.\d+\.")


class MuonWithAdamW(torch.optim.Optimizer):
    """Two optimizers of PyTorch behind one list of groups and one state.

    Args:
        matrices (`list[nn.Parameter]`): Parameters with two axes that Muon changes.
        muon_settings (`dict`): Arguments of `torch.optim.Muon`.
        groups (`list[dict]`): Groups of all other parameters, with the settings of `torch.optim.AdamW`.
    """

    def __init__(
        self,
        matrices: list[nn.Parameter],
        muon_settings: dict[str, Any],
        groups: list[dict[str, Any]],
    ):
        self.muon = torch.optim.Muon([{"params": matrices, "name": "muon"}], **muon_settings)
        self.adamw = torch.optim.AdamW(groups)
        super().__init__(self.muon.param_groups + self.adamw.param_groups, defaults={})
        self._share()

    def _share(self) -> None:
        """Lets both work on the groups and the state that are saved, loaded and scheduled here."""
        for optimizer, groups in ((self.muon, self.param_groups[:1]), (self.adamw, self.param_groups[1:])):
            optimizer.param_groups, optimizer.state = groups, self.state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def step(self, closure: Any = None) -> Any:
        """Changes all parameters; `closure` computes the loss again, once."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss


def with_muon(optimizer: torch.optim.Optimizer, model: nn.Module, learning_rate: float) -> MuonWithAdamW:
    """An optimizer in which Muon takes the matrices inside blocks over from AdamW; their decay stays theirs.

    Args:
        optimizer (`torch.optim.Optimizer`): AdamW, before its first step.
        model (`nn.Module`): Model whose parameters it holds.
        learning_rate (`float`): Muon's; 0.02 to 0.03 is usual.

    Raises:
        InvalidFaceInputError: It is another optimizer, or nothing inside a block learns.
    """
    if not isinstance(optimizer, torch.optim.AdamW):
        raise InvalidFaceInputError(
            f"muon_learning_rate stands beside AdamW, but the optimizer is {type(optimizer).__name__}; leave --optim "
            "or muon_learning_rate out."
        )
    matrices = {
        id(parameter): parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.ndim == 2 and _IN_A_BLOCK.search(name)
    }
    if not matrices:
        raise InvalidFaceInputError("muon_learning_rate is given, but no matrix inside a block learns; leave it out.")
    decays = [group["weight_decay"] for group in optimizer.param_groups if group["weight_decay"]]
    groups = [
        group | {"params": [parameter for parameter in group["params"] if id(parameter) not in matrices]}
        for group in optimizer.param_groups
    ]
    return MuonWithAdamW(
        list(matrices.values()),
        {"lr": learning_rate, "weight_decay": max(decays, default=0.0)},
        [group for group in groups if group["params"]],
    )
