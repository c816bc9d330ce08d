"""`farl-hf env`: what a report of a problem should say."""

import platform
from importlib.metadata import PackageNotFoundError, version

__all__ = ["environment"]

_PACKAGES = (
    "farl-hf",
    "torch",
    "torchvision",
    "transformers",
    "huggingface-hub",
    "safetensors",
    "numpy",
    "pillow",
    "opencv-python-headless",
    "scikit-image",
    "datasets",
    "accelerate",
    "evaluate",
    "deepspeed",
    "timm",
)


def environment() -> None:
    """Print versions, devices and the models at hand; paste it into a report of a problem."""
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "which", title="farl-hf environment")
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        table.add_row(package, _version(package))
    for name, description in (*_devices(), *_models()):
        table.add_row(name, description)
    Console().print(table)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _devices() -> list[tuple[str, str]]:
    import torch

    rows = [("CPU", f"{torch.get_num_threads()} threads for torch")]
    for index in range(torch.cuda.device_count()):
        memory_gib = torch.cuda.get_device_properties(index).total_memory / 2**30
        rows.append((f"cuda:{index}", f"{torch.cuda.get_device_name(index)}, {memory_gib:.0f} GiB"))
    if torch.backends.mps.is_available():
        rows.append(("mps", "Apple GPU"))
    return rows


def _models() -> list[tuple[str, str]]:
    from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, EMBEDDED_CHECKPOINTS, checkpoint
    from farl_hf.cli.options import TWO_TOWER_MODEL

    def described(name: str, task: str) -> str:
        commands = ", explain and match" if name == TWO_TOWER_MODEL else ""
        use = f"default model of {task}" if task in DEFAULT_CHECKPOINTS else f"for {task}{commands}"
        return use if (checkpoint(name) / "config.json").is_file() else f"{use} (files missing)"

    return [(name, described(name, task)) for name, task in EMBEDDED_CHECKPOINTS.items()]
