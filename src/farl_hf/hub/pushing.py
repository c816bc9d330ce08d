"""Repositories of the Hugging Face Hub: the files for a checkpoint or a Space, and uploads, also of data sets.

A repository of a checkpoint holds the checkpoint and the code that loads it. With a model for face crops it also holds
the detector. A Space holds the page of `farl-hf demo --web` and the package as a wheel.
"""

import base64
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.utils import httpx

import farl_hf
from farl_hf.checkpoints import checkpoint
from farl_hf.checkpoints.checkpoint_names import checkpoint_for
from farl_hf.errors import InvalidArgumentError, MissingExtraError, NotACheckpointError, UploadError
from farl_hf.hub.checkpoint_files import RepositoryFile, read_checkpoint
from farl_hf.hub.flat_code import flat_code
from farl_hf.pipelines.face_detection import DETECTOR_FOLDER

_DETECTION = "face-detection"


@dataclass(frozen=True)
class RepositoryPlan:
    """The files that a push uploads.

    Args:
        files (`tuple[RepositoryFile, ...]`): By path.
        skipped (`tuple[str, ...]`): Names in the checkpoint folder that are not uploaded, such as the state of an
            optimizer; folders end with a slash.
        task (`str`, *optional*): The pipeline that the repository serves.
        repo_type (`str`, *optional*, defaults to `"model"`): `"model"` or `"space"`.
    """

    files: tuple[RepositoryFile, ...]
    skipped: tuple[str, ...]
    task: str | None
    repo_type: str = "model"

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.num_bytes for file in self.files)


def plan_repository(name: str | Path, detector: str | Path | None = None) -> RepositoryPlan:
    """Collect the files that a repository of a checkpoint needs where farl_hf is not installed.

    Args:
        name (`str` or `Path`): Name or folder of a checkpoint of this library, with its processor.
        detector (`str` or `Path`, *optional*): Name or folder of the detector, uploaded with a model for face crops;
            if not given, the one in the checkpoint's folder `face-detector`, else the default one.

    Raises:
        NotACheckpointError: If a file is missing or damaged; the message names it.
        InvalidArgumentError: If a detector is given to a model that needs none.
        UnknownNameError, NotDownloadedError: If there is no such checkpoint.
    """
    folder = checkpoint(name)
    main = read_checkpoint(folder)
    files, modules = main.files, main.code_modules
    with_detector = main.task not in (None, _DETECTION)
    if detector is not None and not with_detector:
        raise InvalidArgumentError(f"{folder} looks into no faces that a detector finds; leave the detector out.")
    if with_detector:
        own = folder / DETECTOR_FOLDER
        beside = _detector(own if detector is None and own.is_dir() else detector)
        files = files + [file._replace(path=f"{DETECTOR_FOLDER}/{file.path}") for file in beside.files]
        modules = modules | beside.code_modules
    code = [RepositoryFile(name, source.encode()) for name, source in flat_code(sorted(modules)).items()]
    together = tuple(sorted([*files, *code], key=lambda file: file.path))
    return RepositoryPlan(together, _skipped(folder, {file.path.partition("/")[0] for file in together}), main.task)


def _detector(name: str | Path | None):
    folder = checkpoint_for(_DETECTION, name)
    detector = read_checkpoint(folder)
    if detector.task != _DETECTION:
        raise NotACheckpointError(
            f"{folder} is no face detector, but serves {detector.task}; give a RetinaFace model."
        )
    return detector


def _skipped(folder: Path, taken: set[str]) -> tuple[str, ...]:
    paths = (path for path in sorted(folder.iterdir()) if path.name not in taken)
    return tuple(f"{path.name}/" if path.is_dir() else path.name for path in paths)


_SPACE_README = """---
title: Faces in a photo
emoji: 🙂
colorFrom: blue
colorTo: gray
sdk: gradio
sdk_version: "{gradio}"
python_version: "3.12"
app_file: app.py
license: mit
short_description: Parts, landmarks, attributes, and heat maps of texts
---

# Faces in a photo

The page of `farl-hf demo --web`, with the small models that farl_hf {version} carries: FaRL (CVPR 2022) for Hugging
Face Transformers. The detector learned from photographs, the others from rendered faces. Photos are deleted within two
hours. `farl-hf push --space` made this Space. Its wheel holds the code, the models and the example photographs, whose
origin and licence are in `farl_hf/cli/demo_photographs/README.md`.
"""
_SPACE_APP = """\
import sys
import tempfile
import zipfile
from pathlib import Path

# Spaces install requirements.txt before the files of the repository are there. So the wheel is not named in it, but
# unpacked here.
(wheel,) = Path(__file__).parent.glob("farl_hf-*.whl")
package = tempfile.mkdtemp()
with zipfile.ZipFile(wheel) as files:
    files.extractall(package)
sys.path.insert(0, package)

from farl_hf.cli.demo import serve_page

serve_page()
"""
# PyTorch's wheels for processors alone are smaller by some GB, and pip takes them for the newer ones.
_CPU_INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"


def plan_space() -> RepositoryPlan:
    """Collect the files of a Space that serves the page of `farl-hf demo --web`.

    Raises:
        MissingExtraError: Gradio, whose version the Space will run, is not installed.
    """
    try:
        gradio = metadata.version("gradio")
    except metadata.PackageNotFoundError as error:
        raise MissingExtraError('A Space needs the `gradio` package: pip install "farl-hf[web]".') from error
    package = metadata.distribution("farl-hf")
    needed = [line for line in package.requires or () if "extra ==" not in line]
    texts = {
        "README.md": _SPACE_README.format(gradio=gradio, version=package.version),
        "app.py": _SPACE_APP,
        "requirements.txt": "\n".join([_CPU_INDEX, *needed, ""]),
    }
    files = [RepositoryFile(path, text.encode()) for path, text in texts.items()]
    wheel = RepositoryFile(f"farl_hf-{package.version}-py3-none-any.whl", _wheel(package))
    return RepositoryPlan((*files, wheel), (), None, "space")


def _wheel(package: metadata.Distribution) -> bytes:
    """This package, as it is installed, as a wheel; equal files make equal wheels.

    The format is that of https://packaging.python.org/en/latest/specifications/binary-distribution-format.
    """
    folder, info = Path(farl_hf.__file__).parent, f"farl_hf-{package.version}.dist-info"
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    contents = {f"farl_hf/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: farl-hf\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    for name in ("METADATA", "entry_points.txt", "licenses/LICENSE"):
        if text := package.read_text(name):  # an older installation may lack the licence
            contents[f"{info}/{name}"] = text.encode()
    sha256 = {path: base64.urlsafe_b64encode(hashlib.sha256(one).digest()).decode() for path, one in contents.items()}
    rows = [f"{path},sha256={sha256[path].rstrip('=')},{len(content)}" for path, content in contents.items()]
    contents[f"{info}/RECORD"] = "\n".join([*rows, f"{info}/RECORD,,", ""]).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as wheel:
        for path, content in contents.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = 0o644 << 16
            wheel.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def push_repository(
    plan: RepositoryPlan,
    repo_id: str,
    *,
    public: bool = False,
    revision: str | None = None,
    message: str = "Upload with farl-hf",
    token: str | None = None,
) -> str:
    """Upload a repository in one commit: it changes completely or not at all.

    Args:
        plan (`RepositoryPlan`): What to upload; other files of the repository are kept.
        repo_id (`str`): `user/name` or `organisation/name`; created if it does not exist.
        public (`bool`, *optional*, defaults to `False`): Make a new repository public. An existing one stays as it is.
        revision (`str`, *optional*): The branch, created if it does not exist; the main one if not given.
        message (`str`, *optional*): Message of the commit.
        token (`str`, *optional*): Access token; the one of `hf auth login` if not given.

    Returns:
        `str`: Address of the commit.

    Raises:
        UploadError: If the Hub cannot be reached or refuses; the message says what it answered.
    """
    api = HfApi(token=token)
    operations = [
        CommitOperationAdd(file.path, file.content if isinstance(file.content, bytes) else str(file.content))
        for file in plan.files
    ]
    with _explained(f"{repo_id} could not be written; no file in it has changed"):
        sdk = "gradio" if plan.repo_type == "space" else None
        api.create_repo(repo_id, repo_type=plan.repo_type, space_sdk=sdk, private=not public, exist_ok=True)
        if revision is not None:
            api.create_branch(repo_id, repo_type=plan.repo_type, branch=revision, exist_ok=True)
        done = api.create_commit(
            repo_id, operations, repo_type=plan.repo_type, commit_message=message, revision=revision
        )
        return str(done.commit_url)


def push_dataset(
    folder: str | os.PathLike, repo_id: str, *, public: bool = False, message: str = "Upload with farl-hf"
) -> str:
    """Upload a data set's folder in one commit.

    Args:
        folder (`str`): The folder, as `farl-hf data convert` writes it.
        repo_id (`str`): `user/name` or `organisation/name`; created if it does not exist.
        public (`bool`, *optional*, defaults to `False`): Make a new repository public. An existing one stays as it is.
        message (`str`, *optional*): Message of the commit.

    Returns:
        `str`: Address of the commit.

    Raises:
        UploadError: If the Hub cannot be reached or refuses; the message says what it answered.
    """
    api = HfApi()
    with _explained(
        f"The data set {repo_id} could not be written; {folder} is complete, so the upload alone can be repeated"
    ):
        api.create_repo(repo_id, repo_type="dataset", private=not public, exist_ok=True)
        return str(
            api.upload_folder(
                repo_id=repo_id, folder_path=Path(folder), repo_type="dataset", commit_message=message
            ).commit_url
        )


@contextmanager
def _explained(failure: str) -> Iterator[None]:
    """Turn errors of the Hub's client into one line: what failed, what the Hub answered, and what to do."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, httpx.HTTPError) as error:
        # When a file fails, the client names it in a RuntimeError, and gives the reason in its cause.
        said = [error, error.__cause__] if isinstance(error, RuntimeError) and error.__cause__ else [error]
        refused = any(getattr(getattr(one, "response", None), "status_code", None) in (401, 403) for one in said)
        advice = ["Log in with `hf auth login`, with a token that may write there."] if refused else []
        raise UploadError(" ".join(" ".join([f"{failure}:", *map(str, said), *advice]).split())) from error
