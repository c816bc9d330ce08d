"""Fetches the common tests of Transformers: the source distribution of the installed release, into a cache folder.

Run as a program it fetches and unpacks them, once per release.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

VARIABLE = "FARL_HF_TRANSFORMERS_TESTS"
RELEASE = version("transformers")


def tests_root() -> Path:
    """The unpacked source distribution; it need not exist."""
    given = os.environ.get(VARIABLE)
    return Path(given) if given else Path.home() / ".cache" / "farl_hf" / f"transformers-{RELEASE}"


def is_fetched() -> bool:
    """Whether the common tests are there."""
    return (tests_root() / "tests" / "test_modeling_common.py").is_file()


def fetch(root: Path) -> None:
    """Download the source distribution with pip and unpack it into `root`."""
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "transformers"]
        subprocess.run([*download, "--dest", folder, f"transformers=={RELEASE}"], check=True)
        (archive,) = Path(folder).glob("transformers-*.tar.gz")
        with tarfile.open(archive) as members:
            members.extractall(folder, filter="data")
        # Moved in one step: an interrupted run leaves nothing that looks complete.
        (Path(folder) / f"transformers-{RELEASE}").rename(root)


if __name__ == "__main__":
    if not is_fetched():
        fetch(tests_root())
