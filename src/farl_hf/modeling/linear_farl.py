"""Linear layers of inference on AMD's processors with AVX-512: products of matrices as convolutions of 1 x 1.

PyTorch gives products of float32 matrices to Intel's MKL, which uses half the width of the registers on AMD's
processors, and convolutions to oneDNN, which uses all of it: 2.1 times the rate on a Zen 5, the same sums.
"""

import functools

import torch
from torch import nn
from torch.nn.functional import conv2d

__all__ = ["linear", "matrix_product"]

# Up to so many numbers PyTorch does not ask oneDNN.
_SMALLEST_INPUT = 20480
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")


@functools.cache
def _products_waste_registers():
    """Return whether MKL computes on a processor that is not Intel's and has AVX-512."""
    if not (torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()):
        return False
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and _processor_is_from_amd()


def _processor_is_from_amd():
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            return "AuthenticAMD" in file.read()
    except OSError:  # not Linux: nothing was measured there
        return False


def _suits_convolution(inputs, weight):
    """Return whether a product of these two had better be a convolution: without gradients, float32, large."""
    return (
        inputs.numel() > _SMALLEST_INPUT
        and inputs.dtype == weight.dtype == torch.float32
        and inputs.device.type == weight.device.type == "cpu"
        and not torch.is_grad_enabled()
        and not torch.compiler.is_compiling()  # true while a graph is exported, too
        and not torch.jit.is_tracing()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.enabled
        and _products_waste_registers()
    )


def _is_plain(layer):
    # Quantised weights are tensors of a kind of their own.
    if type(layer) is not nn.Linear or type(layer.weight) is not nn.Parameter:
        return False
    return not any(getattr(layer, hooks) for hooks in _HOOKS)


def linear(layer, inputs):
    """Return `layer(inputs)`, (..., in) to (..., out).

    Args:
        layer (`nn.Linear`): Subclasses, adapters, quantised layers and those with hooks are called as they are.
        inputs (`torch.Tensor` of shape `(..., in)`): Contiguous or not.
    """
    if not _is_plain(layer) or not _suits_convolution(inputs, layer.weight):
        return layer(inputs)
    rows = inputs.reshape(-1, layer.in_features)
    return _convolved(rows, layer.weight, layer.bias).view(*inputs.shape[:-1], layer.out_features)


def matrix_product(left_MK, right_KN):
    """Return `left @ right`, (M, N)."""
    if not _suits_convolution(left_MK, right_KN):
        return left_MK @ right_KN
    return _convolved(left_MK.contiguous(), right_KN.T, None)


def _convolved(rows_MK, weight_NK, bias_N):
    map_1K1M = rows_MK[None, None].permute(0, 3, 1, 2)  # in channels-last layout, as the result will be
    # With dilation, which does nothing to one tap, PyTorch asks oneDNN also when there is a single thread.
    return conv2d(map_1K1M, weight_NK[:, :, None, None], bias_N, dilation=2).permute(0, 2, 3, 1)[0, 0]
