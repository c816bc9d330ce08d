"""`farl-hf push --space` uploads the page of `farl-hf demo --web` with all that it needs to run."""

import base64
import csv
import hashlib
import io
import os
import signal
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

import farl_hf
from farl_hf.cli import app
from farl_hf.cli.demo import GROUP_PHOTO
from farl_hf.errors import UploadError
from farl_hf.hub import plan_space, push_repository

gradio = pytest.importorskip("gradio", reason="the extra `web` (gradio) is not installed")


@pytest.fixture
def push(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: CliRunner().invoke(app, ["push", *arguments])


@pytest.fixture
def uploaded(here, push):
    """The files of a Space after its upload."""
    done = push("--space", "me/faces")
    assert done.exit_code == 0, done.output
    assert here.repositories["me/faces"].private
    commit, files = here.repositories["me/faces"].files("main")
    assert commit in done.output
    assert not [request for request in here.unknown if "me/faces" in request]
    return files


def test_the_card_says_what_runs_the_space(uploaded):
    card = yaml.safe_load(uploaded["README.md"].decode().split("---\n")[1])
    assert (card["sdk"], card["sdk_version"], card["license"]) == ("gradio", gradio.__version__, "mit")
    assert card["app_file"] in uploaded
    assert float(card["python_version"]) >= 3.11  # the least that the package runs on


def test_requirements_are_those_of_the_package_without_extras(uploaded):
    lines = uploaded["requirements.txt"].decode().splitlines()
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(project["dependencies"]) < set(lines)
    assert not [line for line in lines if "extra" in line.replace("--extra-index-url", "") or "farl" in line]


def test_the_wheel_holds_the_package_and_its_record(uploaded):
    (name,) = (path for path in uploaded if path.endswith(".whl"))
    wheel = zipfile.ZipFile(io.BytesIO(uploaded[name]))
    assert name == f"farl_hf-{farl_hf.__version__}-py3-none-any.whl"
    root = Path(farl_hf.__file__).parent
    here = {f"farl_hf/{path.relative_to(root)}" for path in root.rglob("*") if path.is_file()}
    held = {path for path in wheel.namelist() if path.startswith("farl_hf/")}
    assert held == {path for path in here if "__pycache__" not in path}
    info = f"farl_hf-{farl_hf.__version__}.dist-info"
    rows = {
        path: (sha256, size) for path, sha256, size in csv.reader(wheel.read(f"{info}/RECORD").decode().splitlines())
    }
    assert rows.pop(f"{info}/RECORD") == ("", "")
    assert set(rows) | {f"{info}/RECORD"} == set(wheel.namelist())
    for path, (sha256, size) in rows.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(wheel.read(path)).digest()).decode().rstrip("=")
        assert (sha256, int(size)) == (f"sha256={digest}", len(wheel.read(path)))
    assert b"MIT License" in wheel.read(f"{info}/licenses/LICENSE")


def test_equal_packages_make_equal_spaces():
    assert plan_space() == plan_space()


def test_a_dry_run_uploads_nothing(here, push):
    done = push("--space", "me/dry-space", "--dry-run")
    assert done.exit_code == 0
    for shown in ("README.md", "requirements.txt", ".whl", "MB"):
        assert shown in done.output
    assert "me/dry-space" not in here.repositories


def test_a_card_that_the_hub_refuses_is_one_sentence(here, monkeypatch):
    monkeypatch.setattr("farl_hf.hub.pushing._SPACE_README", "---\nsdk: gradio\ncolorFrom: black\n---\n")
    with pytest.raises(UploadError, match=r"colorFrom.* must be one of red"):
        push_repository(plan_space(), "me/refused-space")


@pytest.mark.parametrize("arguments", [(), ("farl-tiny",), ("farl-tiny", "--space", "me/faces")])
def test_a_checkpoint_or_a_space(push, arguments):
    done = push(*arguments)
    assert done.exit_code == 2
    assert "--space" in done.output


def test_without_gradio_one_sentence_names_the_extra(push, monkeypatch):
    def missing(name):
        raise pushing.metadata.PackageNotFoundError(name)

    pushing = sys.modules["farl_hf.hub.pushing"]
    monkeypatch.setattr(pushing.metadata, "version", missing)
    done = push("--space", "me/faces")
    assert done.exit_code == 2
    assert 'pip install "farl-hf[web]"' in done.output


@pytest.mark.nightly
def test_the_uploaded_folder_runs_where_farl_hf_is_not_installed(uploaded, tmp_path):
    """In an environment of its own, which borrows only the packages that requirements.txt and the card name."""
    from gradio_client import Client, handle_file

    venv.create(tmp_path / "environment", with_pip=False)
    (packages,) = (tmp_path / "environment").glob("lib/python*/site-packages")
    # Lines of a .pth file add folders, whose own .pth files (of editable installs) are not read.
    (packages / "borrowed.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
    for path, content in uploaded.items():
        (tmp_path / path).write_bytes(content)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "GRADIO"))}
    environment |= {
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(tmp_path / "gradio"),
        "HF_HUB_OFFLINE": "1",
    }
    program = [tmp_path / "environment/bin/python", "app.py"]
    with (tmp_path / "errors").open("w") as errors:
        server = subprocess.Popen(
            program, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            line = server.stdout.readline()
            assert "Open http://127.0.0.1:" in line, (tmp_path / "errors").read_text()[-3000:]
            picture, words = Client(line.split()[1], verbose=False, download_files=str(tmp_path)).predict(
                handle_file(str(GROUP_PHOTO)), "parsing", "", api_name="/show"
            )
            assert "8 faces" in words
            assert Path(picture).stat().st_size > 10_000
            server.send_signal(signal.SIGINT)
            assert server.wait(timeout=60) == 0
        finally:
            server.kill()
