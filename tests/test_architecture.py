"""The layout of docs/architecture.md: who imports whom, what ships to the Hub, names of files."""

import ast
import re
from pathlib import Path

import pytest

import farl_hf

ROOT = Path(farl_hf.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
SHIPPED = ("modeling", "processing")
MAY_IMPORT = {
    "modeling": set(),
    "processing": set(),
    "errors": set(),
    "photo_names": set(),
    "whole_files": {"errors"},
    "labels": {"errors"},
    "results": {"errors"},
    "photos": {"errors"},
    "face_renderer": {"errors", "labels"},
    "metrics": {"errors", "labels", "results"},
    "drawing": {"errors", "labels", "results"},
    "outputs": {"errors", "labels", "results", "photos", "processing", "drawing"},
    "data": {"errors", "whole_files", "labels", "results", "photos", "processing", "face_renderer"},
    "conversion": {"errors", "whole_files", "labels", "modeling", "processing"},
    "export": {"errors", "whole_files", "modeling", "conversion", "checkpoints"},
    "checkpoints": {"errors", "whole_files", "conversion"},
    "pipelines": {"errors", "labels", "results", "photos", "processing", "checkpoints"},
    "retrieval": {"errors", "whole_files", "photo_names", "labels", "results", "photos", "processing", "pipelines"},
    "explanation": {"errors", "processing", "pipelines", "retrieval"},
    "editing": {"errors", "retrieval"},
    "video": {"errors", "whole_files", "labels", "results", "photos", "processing", "checkpoints", "pipelines"},
    "training": {
        *("errors", "whole_files", "labels", "photos", "modeling", "processing", "checkpoints", "data", "metrics"),
    },
    "laion_face": {"errors", "whole_files", "results", "photos", "conversion", "checkpoints", "data", "pipelines"},
    "hub": {"errors", "labels", "modeling", "processing", "checkpoints", "pipelines", "auto"},
    "auto": {"modeling", "processing", "pipelines", "checkpoints"},
    "__main__": {"cli"},
    "cli": {
        *("auto", "checkpoints", "conversion", "data", "drawing", "errors", "explanation", "export", "face_renderer"),
        *("hub", "labels", "laion_face", "metrics", "modeling", "photos", "pipelines", "processing", "results"),
        *("outputs", "photo_names", "retrieval", "training", "video", "whole_files"),
    },
}
# What shipped code may need on a machine without farl_hf.
SHIPPED_MAY_NEED = {"torch", "torchvision", "numpy", "PIL", "transformers", "timm"}
SHIPPED_MAY_NEED |= {"tokenizers"}  # a dependency of Transformers itself; the text tower's tokenizer is built with it
SHIPPED_MAY_NEED |= {"ftfy"}  # optional, imported in a `try`, which Transformers leaves out of its check of imports
STANDARD = {"collections", "dataclasses", "functools", "itertools", "math", "typing", "warnings"}
STANDARD |= {"contextlib", "copy", "html", "inspect", "operator", "re", "threading", "unicodedata", "weakref"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "core", "common", "misc", "factory", "base", "tools"}

by_path = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
shipped_by_path = pytest.mark.parametrize(
    "path",
    [path for path in FILES if path.parent.name in SHIPPED and path.name != "__init__.py"],
    ids=lambda path: path.name,
)


def package_of(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def module_of(path):
    return ".".join(["farl_hf", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def imported_modules(path):
    """Absolute names of everything a file imports, wherever in the file; relative imports are resolved."""
    for node in ast.walk(ast.parse(path.read_text())):
        yield from imported_names(node, path)


def imported_names(node, path):
    """Absolute names of what one statement imports; none if it is no import."""
    here = ["farl_hf", *path.relative_to(ROOT).parts[:-1]]
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        start = here[: len(here) - node.level + 1] if node.level else []
        module = ".".join([*start, *([node.module] if node.module else [])])
        # `from farl_hf import labels` and `from . import modeling` import packages, not names of one.
        yield from (f"{module}.{alias.name}" for alias in node.names) if module == "farl_hf" else (module,)


def own_packages(path):
    modules = (module.split(".") for module in imported_modules(path))
    return {parts[1] for parts in modules if parts[0] == "farl_hf" and len(parts) > 1}


@by_path
def test_imports_follow_the_table(path):
    package = package_of(path)
    if package == "__init__":
        assert own_packages(path) <= {"auto", "errors"}
        return
    assert package in MAY_IMPORT, f"{package} has no row in the table; add it here and in docs/architecture.md"
    unknown = own_packages(path) - MAY_IMPORT[package] - {package}
    assert not unknown, f"{package} may not import {sorted(unknown)}"


def test_the_table_is_the_documented_one():
    document = Path(__file__).parents[1] / "docs" / "architecture.md"
    rows = re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", document.read_text(), flags=re.MULTILINE)
    assert rows
    for package, allowed in rows:
        if package != "cli":  # everything but the inside of modeling
            names = set(re.findall(r"\w+", re.sub(r"\(.*?\)|nothing of farl_hf", "", allowed)))
            assert names == MAY_IMPORT[package], package


def test_the_command_line_stays_out_of_the_inside_of_modeling():
    inside = [m for path in FILES if package_of(path) == "cli" for m in imported_modules(path)]
    assert not [module for module in inside if module.startswith("farl_hf.modeling.")]


@shipped_by_path
def test_shipped_files_import_siblings_by_name_only(path):
    """`save_pretrained` copies a sibling only for `from .sibling import name`; other forms are lost, or crash it."""
    siblings = {other.stem for other in path.parent.glob("*.py")}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1, f"line {node.lineno}: from {'.' * node.level}{node.module or ''}"
            assert node.module in siblings, f"line {node.lineno}: from .{node.module or ''}"
            assert all(alias.name != "*" for alias in node.names)


@shipped_by_path
def test_shipped_files_need_only_what_a_hub_user_has(path):
    needed = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            needed |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            needed.add(node.module.split(".")[0])
    assert needed <= SHIPPED_MAY_NEED | STANDARD


@shipped_by_path
def test_no_text_of_a_shipped_file_looks_like_a_relative_import(path):
    """The copying looks for imports with a regular expression over the raw text, docstrings included."""
    looks = re.findall(r"^\s*(?:from\s+\.(\S*)\s+import|import\s+\.(\S+))", path.read_text(), flags=re.MULTILINE)
    modules = [
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert sorted(first or second for first, second in looks) == sorted(modules)


def test_shipped_files_have_different_names():
    names = [path.name for path in FILES if path.parent.name in SHIPPED and path.name != "__init__.py"]
    assert len(names) > 10
    assert len(names) == len(set(names))


def test_no_two_packages_import_each_other():
    reachable = {package: set(allowed) for package, allowed in MAY_IMPORT.items()}
    for _ in reachable:
        for package, allowed in reachable.items():
            reachable[package] = allowed.union(*(reachable[other] for other in allowed))
    assert not [package for package, allowed in reachable.items() if package in allowed]


def test_no_two_modules_import_each_other():
    """Nor a row of modules in a circle, wherever in the file the import stands."""
    modules = {module_of(path): path for path in FILES}
    waiting = {}
    for module, path in modules.items():
        imports = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        named = {name for node in imports for name in imported_names(node, path)}
        waiting[module] = {name for name in named if name in modules and name != module}
    while waiting:
        ready = {module for module, needed in waiting.items() if not needed & waiting.keys()}
        assert ready, f"a circle among {sorted(waiting)}"
        waiting = {module: needed for module, needed in waiting.items() if module not in ready}


def test_names_of_files_say_what_is_in_them():
    parts = {part.removesuffix(".py") for path in FILES for part in path.relative_to(ROOT).parts}
    assert not parts & VAGUE_NAMES


@by_path
def test_only_the_command_line_prints(path):
    if package_of(path) == "cli":
        return
    calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@by_path
def test_public_modules_say_what_they_offer(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "a module says in its first line what it is for"
