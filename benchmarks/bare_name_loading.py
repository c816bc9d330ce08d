"""Time of `AutoModel.from_pretrained("farl")` beside that of Transformers' own CLIP of the same size.

    python -m benchmarks.bare_name_loading [--rounds 21]

Both models have random weights. CLIP is in a local folder, "farl" in a cache made for the run (about 1.2 GB in the
folder for temporary files). FaRL is also loaded from its folder, which shows the cost of the name. The three alternate
after one round of warm-up. There is no network: a request would end the run with an error. Prints JSON.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def forbid_network() -> None:
    """Let every request that is not answered on this machine fail."""
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils import httpx

    def refuse(request):
        raise RuntimeError(f"{request.url} was asked for")

    set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(refuse)))


def write_models(folder: Path) -> Path:
    """Store "farl" in the cache; write CLIP ViT-B/16 to a folder and return that."""
    from transformers import CLIPConfig, CLIPModel

    from farl_hf import FaRLConfig, FaRLModel
    from farl_hf.checkpoints.checkpoint_download import link_aliases
    from farl_hf.checkpoints.hub_cache import store_snapshot

    FaRLModel(FaRLConfig()).save_pretrained(folder / "farl-ep64")
    store_snapshot("farl-ep64", folder / "farl-ep64")
    link_aliases("farl-ep64")
    clip = CLIPConfig(vision_config={"patch_size": 16})
    CLIPModel(clip).save_pretrained(folder / "clip")
    return folder / "clip"


def measure(rounds: int, folder: Path) -> dict[str, float]:
    """Seconds of each, medians, and their ratio."""
    from transformers import AutoModel, CLIPModel

    from farl_hf import checkpoint

    clip_folder = write_models(folder)
    loads: dict[str, Callable] = {
        "farl": lambda: AutoModel.from_pretrained("farl"),
        "farl_folder": lambda: AutoModel.from_pretrained(checkpoint("farl")),
        "clip": lambda: CLIPModel.from_pretrained(clip_folder),
    }
    seconds: dict[str, list[float]] = {name: [] for name in loads}
    parameters = {}
    for _ in range(rounds + 1):
        for name, load in loads.items():
            start = time.perf_counter()
            model = load()
            seconds[name].append(time.perf_counter() - start)
            parameters[name] = model.num_parameters()
            del model
    medians = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    return {
        "seconds_farl": round(medians["farl"], 3),
        "seconds_farl_folder": round(medians["farl_folder"], 3),
        "seconds_clip": round(medians["clip"], 3),
        "ratio": round(medians["farl"] / medians["clip"], 3),
        "parameters_farl": parameters["farl"],
        "parameters_clip": parameters["clip"],
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=21)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HF_HOME"] = folder  # before huggingface_hub is imported
        forbid_network()
        print(json.dumps(measure(arguments.rounds, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
