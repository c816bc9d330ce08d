"""`farl-hf list`: the models that have a name, and which of them are here."""

import sys
from collections.abc import Iterator

__all__ = ["list_checkpoints"]

_PIPE_WIDTH = 200  # where there is no width to fit into: a line per model, for grep


def list_checkpoints() -> None:
    """Show every model that has a name: its task, size, licence, origin, and whether it is on this machine."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Models of farl-hf", box=box.SIMPLE_HEAD)
    for column in ("name", "task", "size", "licence", "from", "state"):
        table.add_column(column, overflow="fold", no_wrap=column in ("name", "size"))
    for row in _rows():
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _rows() -> Iterator[tuple[str, ...]]:
    from farl_hf.checkpoints import EMBEDDED_CHECKPOINTS, KNOWN_NAMES, OFFICIAL_MODELS
    from farl_hf.checkpoints.checkpoint_names import resolve_name

    for name in KNOWN_NAMES:
        resolved = resolve_name(name)
        if resolved in EMBEDDED_CHECKPOINTS:
            yield name, EMBEDDED_CHECKPOINTS[name], _size(name), "MIT", "this package", "embedded"
        else:
            model = OFFICIAL_MODELS[resolved]
            state = _state(name, resolved)
            yield name, model.task, _size(resolved), model.licence, model.project, state


def _size(name: str) -> str:
    """Of the files here, else about that of the published file."""
    from farl_hf.checkpoints import OFFICIAL_MODELS
    from farl_hf.checkpoints.checkpoint_names import local_folder

    folder = local_folder(name)
    if folder is not None:
        return _megabytes(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
    size = OFFICIAL_MODELS[name].approximate_bytes
    return "" if size is None else f"~ {_megabytes(size)}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _state(name: str, resolved: str) -> str:
    from farl_hf.checkpoints.checkpoint_names import is_shadowed, local_folder

    state = "[green]here[/green]" if local_folder(name) is not None else "not downloaded"
    alias = f" (= {resolved})" if name != resolved else ""
    shadow = f"; [yellow]./{name} hides it[/yellow]" if is_shadowed(name) else ""
    return f"{state}{alias}{shadow}"
