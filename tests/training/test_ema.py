import pytest
import torch
from torch import nn

from farl_hf.training.ema import WeightAverage


class Net(nn.Module):
    def __init__(self, value=0.0):
        super().__init__()
        self.linear = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(2)
        self.set(value)

    @torch.no_grad()
    def set(self, value):
        for tensor in [*self.parameters(), *self.buffers()]:
            tensor.fill_(value)


def test_average_follows_the_closed_form_for_parameters_and_float_buffers():
    net, average = Net(0.0), WeightAverage(Net(0.0), decay=0.9)
    net.set(1.0)
    for _ in range(5):
        average.update(net)
    assert set(average.averages) == {
        "linear.weight",
        "linear.bias",
        "norm.weight",
        "norm.bias",
        "norm.running_mean",
        "norm.running_var",
    }
    for values in average.averages.values():
        torch.testing.assert_close(values, torch.full_like(values, 1 - 0.9**5))


def test_warmup_starts_at_a_tenth_and_ends_at_the_decay():
    average = WeightAverage(Net(), decay=0.5, warmup=True)
    assert average.present_decay() == pytest.approx(0.1)
    average.num_updates = 1000
    assert average.present_decay() == 0.5


def test_average_is_float32_for_low_precision_weights():
    net = Net(1.0).to(torch.bfloat16)
    average = WeightAverage(net, decay=0.999)
    net.set(2.0)
    for _ in range(3):
        average.update(net)
    torch.testing.assert_close(average.averages["linear.bias"], torch.tensor([2 - 0.999**3]))
    assert average.merged_into(net.state_dict())["linear.bias"].dtype == torch.bfloat16


def test_weights_return_even_after_an_error():
    net = Net(1.0)
    average = WeightAverage(Net(5.0), decay=0.9)

    def evaluate():
        with average.applied_to(net):
            assert net.linear.bias.item() == 5
            assert net.norm.running_mean[0].item() == 5
            raise RuntimeError("evaluation broke")

    with pytest.raises(RuntimeError, match="evaluation broke"):
        evaluate()
    assert net.linear.bias.item() == 1
    assert net.norm.running_mean[0].item() == 1
