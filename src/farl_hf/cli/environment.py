"""`farl-hf env` and `farl-hf autoload`: this Python environment, for bug reports, and programs without an import.

Python runs the lines of `*.pth` files in site-packages when it starts. `autoload on` writes such a line, which puts a
finder into `sys.meta_path`. The finder imports farl_hf when a program begins to import Transformers. farl_hf then
waits until the Auto classes are loaded.
"""

import platform
import sysconfig
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Table

from farl_hf.cli.options import USAGE_ERROR, error_console

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

autoload_app = typer.Typer(
    help="Let Transformers know farl_hf in every program of this Python environment, without `import farl_hf`.",
    no_args_is_help=True,
    rich_markup_mode="rich",
)

# Python reads one line; an exception in it would be printed at every start. Where farl_hf is gone, nothing happens.
# The finder stays in the list: Python walks through it, and would skip the one behind a finder that removes itself.
_HOOK = """
class FaRLAutoload:
    def find_spec(self, name, path=None, target=None):
        if name == "transformers":
            try:
                import farl_hf
            except ModuleNotFoundError:
                pass

sys.meta_path.insert(0, FaRLAutoload())
"""
_LINE = f"import sys; exec({_HOOK!r}, {{'sys': sys}})\n"


def environment() -> None:
    """Print versions, devices and the models on this machine; paste it into a bug report."""
    table = Table("what", "which", title="farl-hf environment")
    table.add_row("Python", f"{platform.python_version()} on {platform.platform()}")
    for package in _PACKAGES:
        table.add_row(package, installed_version(package))
    for row in (*_devices(), *_models()):
        table.add_row(*row)
    Console().print(table)


def installed_version(package: str) -> str:
    """Of a distribution; "not installed" if it is not."""
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
    from farl_hf.cli.options import IMAGE_TEXT_MODEL

    def described(name: str, task: str) -> str:
        commands = ", explain and match" if name == IMAGE_TEXT_MODEL else ""
        use = f"default model of {task}" if task in DEFAULT_CHECKPOINTS else f"for {task}{commands}"
        return use if (checkpoint(name) / "config.json").is_file() else f"{use} (files missing)"

    return [(name, described(name, task)) for name, task in EMBEDDED_CHECKPOINTS.items()]


# Autoload


def autoload_file() -> Path:
    """The file in the running environment that switches autoload on, whether it exists or not."""
    return Path(sysconfig.get_path("purelib")) / "farl_hf_autoload.pth"


@autoload_app.command("on")
def on() -> None:
    """Let [bold]AutoModel.from_pretrained("farl")[/bold] work in this environment without an import."""
    from farl_hf.whole_files import write_whole

    _change(autoload_file().parent.stat)  # a folder that is missing is not made
    _change(lambda: write_whole(autoload_file(), _LINE.encode()))
    status()


@autoload_app.command("off")
def off() -> None:
    """Names of farl_hf need `import farl_hf` again. Run it before you uninstall farl_hf, which leaves the file."""
    _change(lambda: autoload_file().unlink(missing_ok=True))
    status()


@autoload_app.command("status")
def status() -> None:
    """Say whether autoload is on, and where its file is."""
    typer.echo(f"on: {autoload_file()}" if autoload_file().is_file() else "off")


def _change(change: Callable[[], object]) -> None:
    try:
        change()
    except OSError as error:
        error_console().print(
            f"[bold red]Error:[/bold red] {autoload_file()} cannot be changed: {error.strerror or error}."
        )
        raise typer.Exit(USAGE_ERROR) from error
