"""The parsing network of ViT-B/16 with its modules as they are, and rearranged for inference, side by side.

    python -m benchmarks.inference_head [--faces N] [--rounds N] [--size PIXELS] [--dtype bfloat16]

Random weights, one process, alternating; prints the arithmetic of pyramid and head and the median time of the
whole network per face of both, their ratio, and how far the results are apart.
"""

import argparse
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from farl_hf import FaRLConfig, FaRLForFaceParsing

WAYS = {"modules": False, "rearranged": True}


def timed(model: FaRLForFaceParsing, pixel_values: torch.Tensor, rearranged: bool) -> tuple[float, torch.Tensor]:
    """Seconds and logits of one forward pass."""
    model.rearrange_for_inference = rearranged
    start = time.perf_counter()
    logits = model(pixel_values).logits
    return time.perf_counter() - start, logits


def head_gflop(model: FaRLForFaceParsing, pixel_values: torch.Tensor, rearranged: bool) -> float:
    """Multiplications and additions of the network without its tower, in billions."""
    model.rearrange_for_inference = rearranged
    counted = []
    for compute in (model, lambda pixels: model.vision_model.feature_maps(pixels, model.config.feature_levels)):
        with FlopCounterMode(display=False) as counter:
            compute(pixel_values)
        counted.append(counter.get_total_flops())
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
    pixel_values = torch.randn(arguments.faces, 3, arguments.size, arguments.size, dtype=dtype)
    with torch.inference_mode():
        logits = {way: timed(model, pixel_values, value)[1] for way, value in WAYS.items()}
        rounds = [
            {way: timed(model, pixel_values, value)[0] for way, value in WAYS.items()} for _ in range(arguments.rounds)
        ]
        gflop = {way: head_gflop(model, pixel_values[:1], value) for way, value in WAYS.items()}
    seconds = {way: statistics.median(each[way] for each in rounds) / arguments.faces for way in WAYS}
    plain, rearranged = logits.values()
    difference = float((plain - rearranged).abs().max() / plain.abs().max())
    same = float((plain.argmax(1) == rearranged.argmax(1)).float().mean())
    print(
        f"ViT-B/16 at {arguments.size} px, {arguments.faces} face(s), {torch.get_num_threads()} thread(s), "
        f"{arguments.dtype}\n"
    )
    print("| way | GFLOP of pyramid and head | s per face |\n|---|---|---|")
    for way, value in seconds.items():
        print(f"| {way} | {gflop[way]:.0f} | {value:.3f} |")
    print(f"\nratio {seconds['modules'] / seconds['rearranged']:.2f}; largest difference {difference:.1e} relative;")
    print(f"equal labels {100 * same:.3f} %")


if __name__ == "__main__":
    main()
