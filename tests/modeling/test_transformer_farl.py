import pytest
import torch
from transformers.activations import ACT2FN

from farl_hf.modeling.modeling_farl import QuickGELU


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
