"""Rates of this machine, multiplications and bytes per second, and the least time that a network can take."""

import statistics
import time

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_SIDE = 1536  # of the matrices: large enough to be bound by arithmetic
_COPIED_BYTES = 1 << 28  # far beyond every cache
_ROUNDS = 5


def matrix_rate(dtype: torch.dtype = torch.float32) -> float:
    """Floating-point operations a second (a multiplication and an addition are two) of square matrix products."""
    left, right = (torch.randn(_SIDE, _SIDE).to(dtype) for _ in range(2))
    return 2 * _SIDE**3 / _median_seconds(lambda: left @ right)


def copy_rate() -> float:
    """Bytes read or written a second by a copy."""
    source = torch.zeros(_COPIED_BYTES, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * _COPIED_BYTES / _median_seconds(lambda: target.copy_(source))


def floor_seconds(model: nn.Module, pixel_values: torch.Tensor) -> float:
    """Arithmetic at the matrix rate, plus every weight read once at the copy rate."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model(pixel_values)
    read = sum(tensor.numel() * tensor.element_size() for tensor in model.parameters())
    return counter.get_total_flops() / matrix_rate(pixel_values.dtype) + read / copy_rate()


def _median_seconds(work) -> float:
    seconds = []
    for _ in range(_ROUNDS + 1):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])
