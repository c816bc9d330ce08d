"""Time and memory of converting a backbone, from a file with random weights in the real format and size (652 MB).

    python -m benchmarks.conversion_cost [--threads 2] [--folder /tmp/somewhere]

Prints JSON. The conversion runs in its own process. Its memory is the peak of resident memory, including PyTorch and
Transformers; `after_imports_bytes` is the share of these.
"""

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch


def write_backbone(path: Path) -> None:
    """Both encoders and the branch of masked image modelling, random, under `state_dict`."""
    from farl_hf.conversion.original_networks import make_visual_transformer

    visual = make_visual_transformer(224, mim_layers=1)
    clip = importlib.import_module("open_clip").create_model("ViT-B-16-quickgelu", pretrained=None)
    weights = {name: value for name, value in clip.state_dict().items() if not name.startswith("visual.")}
    weights |= {f"visual.{name}": value for name, value in visual.state_dict().items()}
    torch.save({"state_dict": weights}, path)


def peak_bytes() -> int:
    """Highest resident size of this process (Linux); `ru_maxrss` would count what the parent had at the fork."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("The kernel does not tell the highest resident size.")


def convert_here(source: Path, output: Path) -> None:
    """Convert, and print what it took."""
    from farl_hf.conversion import convert_checkpoint
    from farl_hf.modeling import FaRLModel  # noqa: F401 - so that its import is not measured

    after_imports = peak_bytes()
    start = time.perf_counter()
    convert_checkpoint(source, output, name="farl-ep64")
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes(), "after_imports_bytes": after_imports}))


def measure(folder: Path, threads: int) -> dict:
    source = folder / "FaRL-Base-Patch16-LAIONFace20M-ep64.pth"
    write_backbone(source)
    command = [sys.executable, "-m", "benchmarks.conversion_cost", "--convert", str(source), str(folder / "out")]
    result = subprocess.run([*command, "--threads", str(threads)], capture_output=True, text=True, check=True)
    figures = json.loads(result.stdout.splitlines()[-1])
    size = source.stat().st_size
    return {
        "file_bytes": size,
        "checkpoint_bytes": (folder / "out/model.safetensors").stat().st_size,
        **figures,
        "peak_per_file_size": figures["peak_bytes"] / size,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the files are written; a temporary folder by default")
    parser.add_argument("--convert", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.convert:
        convert_here(*arguments.convert)
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        print(json.dumps(measure(Path(folder), arguments.threads), indent=2))


if __name__ == "__main__":
    main()
