"""`farl-hf autoload`, in a throwaway environment whose Python finds farl_hf only where the test says so."""

import os
import subprocess
import sysconfig
import venv
from pathlib import Path

import pytest

import farl_hf

# Transformers' first import, as far as the hook is concerned.
STAND_IN = "import sys\nFARL_HF_CAME_FIRST = 'farl_hf' in sys.modules\n"
COMMANDS = "from farl_hf.cli.environment import autoload_app; autoload_app(sys.argv[1:])"


class Environment:
    """A virtual environment without packages."""

    def __init__(self, folder):
        self.folder = folder
        venv.create(folder, symlinks=True, with_pip=False)
        self.python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"

    def run(self, code, *arguments, paths=()):
        settings = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "PYTHON"))}
        settings |= {"PYTHONPATH": os.pathsep.join(map(str, paths)), "HF_HUB_OFFLINE": "1"}
        settings["HF_HOME"] = str(self.folder / "home")
        command = [str(self.python), "-c", f"import sys; {code}", *arguments]
        return subprocess.run(command, env=settings, capture_output=True, text=True, check=False)

    def autoload(self, word):
        finished = self.run(COMMANDS, word, paths=HERE)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout.strip()

    def files(self):
        return sorted(path.name for path in self.folder.rglob("*.pth"))


# Where this Python has farl_hf and all other packages; their own *.pth files are not run from there.
HERE = (Path(farl_hf.__file__).parents[1], sysconfig.get_path("purelib"))


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path / "environment")


@pytest.fixture
def stand_in(tmp_path):
    (tmp_path / "stand_in").mkdir()
    (tmp_path / "stand_in" / "transformers.py").write_text(STAND_IN)
    return tmp_path / "stand_in"


def assert_prints(finished, expected):
    assert (finished.returncode, finished.stdout.strip(), finished.stderr) == (0, expected, "")


def test_it_is_switched_on_and_off_and_changes_nothing_else(environment):
    files = environment.files()
    assert environment.autoload("status") == "off"
    for _ in range(2):
        where = environment.autoload("on").removeprefix("on: ")
        assert Path(where).parent.name == "site-packages"
        assert environment.files() == sorted([*files, "farl_hf_autoload.pth"])
    assert environment.autoload("status") == f"on: {where}"
    for _ in range(2):
        assert environment.autoload("off") == "off"
        assert environment.files() == files


def test_farl_hf_is_imported_with_transformers_and_not_before(environment, stand_in):
    environment.autoload("on")
    check = "before = 'farl_hf' in sys.modules; import transformers; print(before, transformers.FARL_HF_CAME_FIRST)"
    assert_prints(environment.run(check, paths=(stand_in, *HERE)), "False True")
    environment.autoload("off")
    assert_prints(environment.run(check, paths=(stand_in, *HERE)), "False False")


def test_it_is_silent_where_the_package_is_gone(environment, stand_in, tmp_path):
    environment.autoload("on")
    assert_prints(environment.run("print('started')"), "started")
    code = "import transformers; print(transformers.FARL_HF_CAME_FIRST, 'farl_hf' in sys.modules)"
    assert_prints(environment.run(code, paths=(stand_in,)), "False False")


def test_a_bare_name_loads_without_the_import(environment):
    environment.autoload("on")
    code = "from transformers import AutoModel; print(type(AutoModel.from_pretrained('farl-tiny-generator')).__name__)"
    finished = environment.run(code, paths=HERE)
    assert (finished.returncode, finished.stdout.strip()) == (0, "FaceDecoderModel"), finished.stderr


def test_a_folder_that_cannot_be_written_is_an_error_of_one_sentence(environment, tmp_path):
    missing = f"import sysconfig; sysconfig.get_path = lambda name: {str(tmp_path / 'missing')!r}; "
    finished = environment.run(missing + COMMANDS, "on", paths=HERE)
    assert finished.returncode == 2
    assert "farl_hf_autoload.pth cannot be changed" in " ".join(finished.stderr.split())
