"""What a Hub repository of a checkpoint holds: the checkpoint, the code, and the detector beside the model."""

from dataclasses import dataclass
from pathlib import Path

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, checkpoint
from farl_hf.errors import NotACheckpointError
from farl_hf.hub.checkpoint_files import RepositoryFile, read_checkpoint
from farl_hf.hub.flat_code import flat_code
from farl_hf.pipelines.face_detection import DETECTOR_FOLDER

__all__ = ["RepositoryPlan", "plan_repository"]

_DETECTION = "face-detection"


@dataclass(frozen=True)
class RepositoryPlan:
    """What a push uploads.

    Args:
        files (`tuple[RepositoryFile, ...]`): By path.
        left_out (`tuple[str, ...]`): Names in the checkpoint folder that belong to no repository, such as the state of
            an optimizer; folders end with a slash.
        task (`str`, *optional*): The pipeline that the repository serves.
    """

    files: tuple[RepositoryFile, ...]
    left_out: tuple[str, ...]
    task: str | None

    @property
    def num_bytes(self) -> int:
        """Size of all files together."""
        return sum(file.num_bytes for file in self.files)


def plan_repository(name: str | Path, detector: str | Path | None = None) -> RepositoryPlan:
    """Everything that a repository of a checkpoint needs to work where farl_hf is not installed.

    Args:
        name (`str` or `Path`): Name or folder of a checkpoint of this library, with its processor.
        detector (`str` or `Path`, *optional*): Name or folder of the detector that goes beside a model that looks
            into faces; the default one if not given.

    Raises:
        NotACheckpointError: If a file is missing or damaged; the message names it.
        UnknownNameError, NotDownloadedError: If there is no such checkpoint.
    """
    folder = checkpoint(name)
    main = read_checkpoint(folder)
    files, modules = main.files, main.code_modules
    if main.task not in (None, _DETECTION):
        beside = _detector(detector)
        files = files + [file._replace(path=f"{DETECTOR_FOLDER}/{file.path}") for file in beside.files]
        modules = modules | beside.code_modules
    code = [RepositoryFile(name, source.encode()) for name, source in flat_code(sorted(modules)).items()]
    together = tuple(sorted([*files, *code], key=lambda file: file.path))
    return RepositoryPlan(together, _left_out(folder, {file.path.partition("/")[0] for file in together}), main.task)


def _detector(name: str | Path | None):
    folder = checkpoint(name or DEFAULT_CHECKPOINTS[_DETECTION])
    detector = read_checkpoint(folder)
    if detector.task != _DETECTION:
        raise NotACheckpointError(
            f"{folder} is no face detector, but serves {detector.task}; give a RetinaFace model."
        )
    return detector


def _left_out(folder: Path, taken: set[str]) -> tuple[str, ...]:
    paths = (path for path in sorted(folder.iterdir()) if path.name not in taken)
    return tuple(f"{path.name}/" if path.is_dir() else path.name for path in paths)
