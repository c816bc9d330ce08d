"""The library's code as one flat folder, the only form in which a Hub repository can carry code.

With a module, Transformers fetches the files that it imports by `from .sibling import name`, and no others. So every
import of this library is rewritten to that form. A name that a package re-exports is imported from the module that
defines it.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import farl_hf

_SOURCES = Path(farl_hf.__file__).parent.parent
# In a repository there are no names of checkpoints: the detector lies beside the model.
_INSTEAD_OF = {"farl_hf.pipelines.detector_loading": "farl_hf.hub.detector_in_repository"}


def flat_code(modules: Iterable[str]) -> dict[str, str]:
    """Return the sources of modules, and of all modules of this library that they import.

    Args:
        modules (`Iterable[str]`): Full names, such as `"farl_hf.modeling.modeling_farl"`.

    Returns:
        `dict[str, str]`: File name -> source, whose imports of this library are all of the form
        `from .sibling import name`.
    """
    waiting, written, sources = list(modules), dict[str, str](), dict[str, str]()
    while waiting:
        module = waiting.pop()
        file_name = f"{_flat_name(module)}.py"
        if written.setdefault(file_name, module) != module:
            raise ValueError(f"{module} and {written[file_name]} would both be {file_name}; rename one of them.")
        if file_name not in sources:
            sources[file_name], needed = _flattened(_INSTEAD_OF.get(module, module))
            waiting += needed
    return dict(sorted(sources.items()))


def _flat_name(module: str) -> str:
    return module.rpartition(".")[2]


def _source_path(module: str) -> Path:
    path = _SOURCES.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _flattened(module: str) -> tuple[str, list[str]]:
    """The source with flat imports, and the modules that they name."""
    source = _source_path(module).read_text(encoding="utf-8")
    lines, needed = source.splitlines(keepends=True), list[str]()
    for node in reversed(list(_own_imports(ast.parse(source), module))):
        names_of_module: dict[str, list[str]] = {}
        for alias in node.names:
            defining = _defining_module(_imported_module(node, module), alias.name)
            names_of_module.setdefault(defining, []).append(ast.unparse(alias))
        needed += names_of_module
        indent = " " * node.col_offset
        lines[node.lineno - 1 : node.end_lineno] = [
            f"{indent}from .{_flat_name(defining)} import {', '.join(names)}\n"
            for defining, names in names_of_module.items()
        ]
    return "".join(lines), needed


def _own_imports(tree: ast.Module, module: str) -> Iterator[ast.ImportFrom]:
    """Imports from this library, in the order of their lines."""
    for node in sorted((node for node in ast.walk(tree) if hasattr(node, "lineno")), key=lambda node: node.lineno):
        if isinstance(node, ast.Import) and any(alias.name.startswith("farl_hf") for alias in node.names):
            raise ValueError(f"{module}, line {node.lineno}: write `from … import …`, a repository has no farl_hf.")
        if isinstance(node, ast.ImportFrom) and _imported_module(node, module).startswith("farl_hf"):
            yield node


def _imported_module(node: ast.ImportFrom, module: str) -> str:
    if not node.level:
        return node.module or ""
    is_package = _source_path(module).name == "__init__.py"
    package = module.split(".")[: -node.level + 1 or None] if is_package else module.split(".")[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def _defining_module(module: str, name: str) -> str:
    """The module itself; for a package, the module that defines the name."""
    path = _source_path(module)
    if path.name != "__init__.py":
        return module
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            return _defining_module(_imported_module(node, module), name)
    raise ValueError(f"{module} defines {name} itself; a repository can carry names of modules only.")
