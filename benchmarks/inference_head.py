"""The parsing network of ViT-B/16, as plain modules and optimised for inference, side by side.

    python -m benchmarks.inference_head [--faces N] [--rounds N] [--size PIXELS] [--dtype bfloat16]

Random weights, one process, alternating. Prints the arithmetic of pyramid and head, the median time of the whole
network per face for both, their ratio, and the difference of their results.
"""

import argparse
import copy
import statistics
import time

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from farl_hf import FaRLConfig, FaRLForFaceParsing


class FlopCounter(TorchDispatchMode):
    """Counts multiplications and additions; PyTorch's own counter sets hooks on all modules, and those must fire."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function not in flop_registry:
            with self:  # a convolution of inference mode, for one, is counted as what it consists of
                result = function.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        result = function(*args, **(kwargs or {}))
        count = flop_registry.get(function._overloadpacket)
        self.total += 0 if count is None else count(*args, **(kwargs or {}), out_val=result)
        return result


def timed(model: FaRLForFaceParsing, pixel_values: torch.Tensor) -> tuple[float, torch.Tensor]:
    """Seconds and logits of one forward pass."""
    start = time.perf_counter()
    logits = model(pixel_values).logits
    return time.perf_counter() - start, logits


def head_gflop(model: FaRLForFaceParsing, pixel_values: torch.Tensor) -> float:
    """Multiplications and additions of the network without its encoder, in billions."""
    counted = []
    for compute in (model, lambda pixels: model.vision_model.feature_maps(pixels, model.config.feature_levels)):
        with FlopCounter() as counter:
            compute(pixel_values)
        counted.append(counter.total)
    return (counted[0] - counted[1]) / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=int, default=1, help="Faces in a batch.")
    parser.add_argument("--rounds", type=int, default=5, help="Timed passes of each way, after one to warm up.")
    parser.add_argument("--size", type=int, default=448, help="Side of the crop.")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32", help="Precision of both.")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    dtype = getattr(torch, arguments.dtype)
    model = FaRLForFaceParsing(FaRLConfig(num_labels=11)).eval().to(dtype)
    # A copy of its own weights, so that each way's stay where they are.
    ways = {"modules": model, "optimised": copy.deepcopy(model).optimize_for_inference()}
    pixel_values = torch.randn(arguments.faces, 3, arguments.size, arguments.size, dtype=dtype)
    with torch.inference_mode():
        logits = {way: timed(each, pixel_values)[1] for way, each in ways.items()}
        rounds = [{way: timed(each, pixel_values)[0] for way, each in ways.items()} for _ in range(arguments.rounds)]
        gflop = {way: head_gflop(each, pixel_values[:1]) for way, each in ways.items()}
    seconds = {way: statistics.median(each[way] for each in rounds) / arguments.faces for way in ways}
    plain, optimised = logits.values()
    difference = float((plain - optimised).abs().max() / plain.abs().max())
    same = float((plain.argmax(1) == optimised.argmax(1)).float().mean())
    print(
        f"ViT-B/16 at {arguments.size} px, {arguments.faces} face(s), {torch.get_num_threads()} thread(s), "
        f"{arguments.dtype}\n"
    )
    print("| way | GFLOP of pyramid and head | s per face |\n|---|---|---|")
    for way, value in seconds.items():
        print(f"| {way} | {gflop[way]:.0f} | {value:.3f} |")
    print(f"\nratio {seconds['modules'] / seconds['optimised']:.2f}; largest difference {difference:.1e} relative;")
    print(f"equal labels {100 * same:.3f} %")


if __name__ == "__main__":
    main()
