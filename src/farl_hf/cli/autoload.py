"""`farl-hf autoload`: names of farl_hf in programs that do not import it.

Python runs the lines of `*.pth` files in site-packages when it starts. Ours puts a finder into `sys.meta_path`, which
imports farl_hf when a program begins to import Transformers. farl_hf then waits until the Auto classes are loaded.
"""

import os
import sysconfig
from pathlib import Path

import typer

from farl_hf.cli.options import USAGE_ERROR, error_console

__all__ = ["autoload_app"]

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


def autoload_file() -> Path:
    """The file in the running environment that switches autoload on, whether it exists or not."""
    return Path(sysconfig.get_path("purelib")) / "farl_hf_autoload.pth"


@autoload_app.command("on")
def on() -> None:
    """From now on, [bold]AutoModel.from_pretrained("farl")[/bold] works in this environment without an import."""
    draft = autoload_file().with_suffix(f".{os.getpid()}")
    _change(lambda: (draft.write_text(_LINE, encoding="ascii"), draft.replace(autoload_file())))
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


def _change(change) -> None:
    try:
        change()
    except OSError as error:
        error_console().print(f"[bold red]Error:[/bold red] {autoload_file()} cannot be changed: {error.strerror}.")
        raise typer.Exit(USAGE_ERROR) from error
