"""The built wheel, installed, runs the README's snippet in a folder that has nothing to do with this repository."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from document_blocks import ROOT, find_blocks

from farl_hf.cli.demo import GROUP_PHOTO

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built by pip from a copy of the sources, without what git ignores."""
    copy, built = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(built)]
    run([sys.executable, "-m", "pip", "wheel", str(copy), *options], built)
    (path,) = built.glob("farl_hf-*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """An environment with the wheel; the packages that it needs are those of this environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    # A .pth file adds folders, but not what .pth files in them add, such as this repository.
    (packages / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    python = str(folder / "bin/python")
    run([sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", str(wheel)], folder)
    return python


def run(command, folder):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP"))}
    environment |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def test_the_wheel_holds_every_file_of_the_package(wheel):
    held = {path for path in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in path}
    files = {path.relative_to(ROOT / "src") for path in (ROOT / "src/farl_hf").rglob("*") if path.is_file()}
    assert held == {path.as_posix() for path in files if "__pycache__" not in path.parts}


def test_the_snippet_of_the_readme_runs(python, tmp_path):
    (snippet,) = (one.text for one in find_blocks() if one.place.startswith("README.md:") and one.language == "python")
    shutil.copy(GROUP_PHOTO, tmp_path / "group.jpg")
    where = "\nprint(farl_hf.__file__)\n"
    *faces, place = run([python, "-c", snippet + where], tmp_path).splitlines()
    assert Path(place).is_relative_to(Path(python).parents[1])
    assert len(faces) == 8
    assert (tmp_path / "parts1.png").stat().st_size > 1000


def test_the_command_runs(python, tmp_path):
    command = str(Path(python).with_name("farl-hf"))
    assert "farl-hf 0." in run([command, "--version"], tmp_path)
    run([command, "demo", "--device", "cpu"], tmp_path)
    assert len(list((tmp_path / "farl_demo").glob("*.jpg"))) == 10
