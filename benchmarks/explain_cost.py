"""Grad-CAM for several texts on one face: a plain forward pass, this library, and the grad-cam package, side by side.

    pip install --no-deps grad-cam==1.5.7 ttach     # --no-deps: it would install a second OpenCV
    python -m benchmarks.explain_cost [--texts N] [--rounds N] [--size PIXELS]

ViT-B/16 with random weights, float32, one face; both get the text vectors. The three alternate. Prints medians of wall
and CPU time, their ratio to the plain forward pass, and the largest difference between the maps of both. The time of
the text encoder is printed apart: a text is embedded once for all faces. Without the package its row is missing.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import interpolate, normalize

from farl_hf import FaRLConfig, FaRLModel
from farl_hf.explanation.heat_map_methods import ExplainedScores, grad_cam
from farl_hf.explanation.vision_layers import default_layer

TOKENS_PER_TEXT = 12


class Similarities(torch.nn.Module):
    """Pixels to scaled similarities, as the package wants a classifier."""

    def __init__(self, model: FaRLModel, text_embeds: torch.Tensor):
        super().__init__()
        self.model, self.text_embeds = model, text_embeds

    def forward(self, pixel_values):
        """Scores (F, K) of crops (F, 3, H, W)."""
        features = self.model.get_image_features(pixel_values).pooler_output
        # Enlarged, because the package adds 1e-7 to what it divides by.
        return 1000 * normalize(features, dim=-1) @ self.text_embeds.t()


def package_grad_cam(model: FaRLModel, text_embeds: torch.Tensor) -> Callable | None:
    """The package's maps (K, H, W) of one face, as a function of its pixels; None where it is not installed."""
    try:
        from pytorch_grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
    except ImportError:
        return None

    def to_maps(tokens):
        side = round((tokens.shape[1] - 1) ** 0.5)
        return tokens[:, 1:].transpose(1, 2).unflatten(2, (side, side))

    layer = model.vision_model.encoder.layers[-1].layer_norm1
    cam = GradCAM(Similarities(model, text_embeds), [layer], reshape_transform=to_maps)
    targets = [ClassifierOutputTarget(column) for column in range(len(text_embeds))]
    return lambda pixel_values: np.concatenate([cam(pixel_values, [target]) for target in targets])


def our_grad_cam(model: FaRLModel, text_embeds: torch.Tensor) -> Callable:
    """This library's maps (K, h, w) of one face, likewise."""
    similarities = Similarities(model, text_embeds)
    names = tuple(map(str, range(len(text_embeds))))
    scores = ExplainedScores(names, similarities, class_token_only=True)
    layer = default_layer(model.vision_model)
    return lambda pixel_values: grad_cam(model.vision_model, scores, layer, pixel_values)[1][0]


def timed(function: Callable, argument: torch.Tensor) -> tuple[float, float]:
    """Wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function(argument)
    return time.perf_counter() - wall, time.process_time() - cpu


def largest_difference(ours_Khw: torch.Tensor, package_KHW: np.ndarray) -> float:
    """Of maps scaled to [0, 1]."""
    maps = interpolate(ours_Khw[None], size=package_KHW.shape[-2:], mode="bilinear", align_corners=False)[0]
    maps = maps - maps.amin(dim=(1, 2), keepdim=True)
    maps = maps / maps.amax(dim=(1, 2), keepdim=True)
    return float((maps - torch.from_numpy(package_KHW)).abs().max())


def print_table(seconds: dict[str, list[tuple[float, float]]]) -> None:
    medians = {way: [statistics.median(each) for each in zip(*rounds, strict=True)] for way, rounds in seconds.items()}
    print("| way | wall, s | CPU, s | wall / forward | CPU / forward |\n|---|---|---|---|---|")
    for way, (wall, cpu) in medians.items():
        ratios = [value / plain for value, plain in zip((wall, cpu), medians["plain forward"], strict=True)]
        print(f"| {way} | {wall:.3f} | {cpu:.3f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    if "grad-cam" in medians:
        ratios = [theirs / ours for theirs, ours in zip(medians["grad-cam"], medians["farl_hf"], strict=True)]
        print(f"\ngrad-cam / farl_hf: wall {ratios[0]:.1f}, CPU {ratios[1]:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7, help="Timed rounds, after one to warm up.")
    parser.add_argument("--size", type=int, default=224, help="Side of the crop.")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = FaRLModel(FaRLConfig()).eval().optimize_for_inference()
    input_ids = torch.randint(1, 40_000, (arguments.texts, TOKENS_PER_TEXT))
    input_ids[:, -1] = model.config.text_config.eos_token_id
    with torch.no_grad():
        text_embeds = normalize(model.get_text_features(input_ids).pooler_output, dim=-1)
    ways = {"plain forward": torch.no_grad()(model.get_image_features), "farl_hf": our_grad_cam(model, text_embeds)}
    package = package_grad_cam(model, text_embeds)
    ways |= {} if package is None else {"grad-cam": package}
    pixel_values = torch.randn(1, 3, arguments.size, arguments.size)
    for function in ways.values():
        function(pixel_values)
    rounds = [{way: timed(ways[way], pixel_values) for way in ways} for _ in range(arguments.rounds)]
    texts_s = timed(torch.no_grad()(model.get_text_features), input_ids)[1]
    print(f"ViT-B/16 at {arguments.size} px, {arguments.texts} texts, {torch.get_num_threads()} thread(s), float32\n")
    print_table({way: [each[way] for each in rounds] for way in ways})
    if package is not None:
        difference = largest_difference(ways["farl_hf"](pixel_values), package(pixel_values))
        print(f"largest difference of the scaled maps: {difference:.1e}")
    print(f"text encoder, {arguments.texts} texts of {TOKENS_PER_TEXT} tokens, once: CPU {texts_s:.3f} s")


if __name__ == "__main__":
    main()
