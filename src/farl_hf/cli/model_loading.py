"""Models and pipelines for the commands, loaded by name; what cannot be loaded is a sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoImageProcessor, Pipeline, pipeline
from transformers.utils.logging import disable_progress_bar

import farl_hf
from farl_hf.checkpoints import DEFAULT_CHECKPOINTS, checkpoint
from farl_hf.checkpoints.checked_loading import load_image_processor, load_whole, read_config
from farl_hf.checkpoints.checkpoint_names import checkpoint_for
from farl_hf.cli.finished_work import checkpoint_digest
from farl_hf.cli.options import IMAGE_TEXT_MODEL
from farl_hf.errors import InvalidArgumentError, NotACheckpointError, UnknownNameError, check_name
from farl_hf.pipelines.face_detection import optimized_for_inference


def model_digests(checkpoints: Mapping[str, str | None]) -> dict[str, str]:
    """What tells whether the checkpoints of tasks are the same as in another run.

    Raises:
        UnknownNameError, NotDownloadedError: There is no such checkpoint.
    """
    return {task: checkpoint_digest(checkpoint_for(task, name)) for task, name in checkpoints.items()}


def load_pipelines(
    checkpoints: Mapping[str, str | None], device: str | None, runtime: str = "torch"
) -> dict[str, Pipeline]:
    """A pipeline for every task.

    Args:
        checkpoints (`Mapping`): Task -> name or folder of a checkpoint, or `None` for the default.
        device (`str`, *optional*): Such as "cpu" or "cuda:1"; by default the first accelerator, else the CPU.
        runtime (`str`): One of `RUNTIMES`.

    Raises:
        UnknownNameError: There is no such checkpoint, device or runtime.
        NotACheckpointError: A folder holds no checkpoint of its task.
        InvalidArgumentError: The runtime onnx without the folder of an exported model.
    """
    check_name("runtime", runtime, RUNTIMES)
    if device is not None:
        require_device(device)
    disable_progress_bar()  # the bars of Transformers for loading weights would hide ours
    load = RUNTIMES[runtime]
    return {task: load(task, name_or_folder, device) for task, name_or_folder in checkpoints.items()}


def load_model_and_processor(name_or_folder: str | None, device: str | None) -> tuple[Any, Any]:
    """A model of the class that was saved, in evaluation mode, and its processor (with or without a tokenizer).

    Args:
        name_or_folder (`str`, *optional*): A checkpoint; `IMAGE_TEXT_MODEL` if not given.
        device (`str`, *optional*): Such as "cpu" or "cuda:1"; by default the first accelerator, else the CPU.

    Raises:
        UnknownNameError: There is no such checkpoint or device.
        NotDownloadedError: The checkpoint is not on this machine.
        NotACheckpointError: The folder holds no checkpoint.
    """
    if device is not None:
        require_device(device)
    folder = checkpoint(name_or_folder or IMAGE_TEXT_MODEL)
    disable_progress_bar()
    with _errors_of_loading(f"{folder} cannot be loaded"):
        model = load_whole(_model_class(folder), folder)
        processor = transformers.AutoProcessor.from_pretrained(folder)
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return optimized_for_inference(model.to(device or accelerator or "cpu").eval()), processor


@contextmanager
def _errors_of_loading(what: str) -> Iterator[None]:
    """Turns errors of Transformers into a sentence that names the checkpoint."""
    try:
        yield
    except NotACheckpointError:
        raise
    # Of damaged settings of processors.
    except (OSError, ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise NotACheckpointError(f"{what}: {reason}") from error


def _model_class(folder: Path) -> Any:
    """The class that wrote the checkpoint; `AutoModel` would load a task model as a model of both encoders."""
    (name, *_) = read_config(folder).architectures or ["AutoModel"]
    return getattr(farl_hf, name, None) or getattr(transformers, name, transformers.AutoModel)


def require_device(device: str) -> None:
    """Raise `UnknownNameError` if torch cannot use a device."""
    try:
        if torch.empty(0, device=device).is_meta:
            raise RuntimeError("it holds no values")
    except (RuntimeError, AssertionError) as error:  # torch asserts that it was built for the device
        reason = str(error).splitlines()[0]
        raise UnknownNameError(
            f"The device {device!r} cannot be used: {reason}; `farl-hf env` lists those here."
        ) from error


def _load_pipeline(task: str, name_or_folder: str | None, device: str | None) -> Pipeline:
    from farl_hf.pipelines import PIPELINES

    folder = checkpoint_for(task, name_or_folder)
    entry: Any = PIPELINES[task]
    load: Any = pipeline  # its overloads know the tasks of Transformers only
    with _errors_of_loading(f"{folder} cannot be loaded as a {task} checkpoint"):
        auto_class = getattr(transformers, entry.auto_model_name)
        model = load_whole(auto_class, folder, entry.pipeline_class.model_name)
        processor = load_image_processor(AutoImageProcessor, folder)
        return load(task, model=model, image_processor=processor, device=device)


def _load_onnx_pipeline(task: str, name_or_folder: str | None, device: str | None) -> Pipeline:
    from farl_hf.export import load_onnx_model
    from farl_hf.pipelines import PIPELINES

    if name_or_folder is None:
        raise InvalidArgumentError(
            f"The runtime onnx needs an exported {task} model; make one with farl-hf export "
            f"{DEFAULT_CHECKPOINTS[task]} --output FOLDER, and give the folder."
        )
    if device not in (None, "cpu"):
        raise InvalidArgumentError(f"The runtime onnx is for the CPU; device {device!r} cannot be used with it.")
    folder = Path(name_or_folder)
    model = load_onnx_model(folder)
    wanted, (written_by, *_) = PIPELINES[task].pipeline_class.model_name, model.config.architectures or ["no model"]
    if written_by != wanted:
        raise NotACheckpointError(f"{folder} is an export of {written_by}; {task} needs one of {wanted}.")
    processor = load_image_processor(AutoImageProcessor, folder)
    return PIPELINES[task].pipeline_class(
        model=model, image_processor=processor, task=task, device=torch.device("cpu")
    )


RUNTIMES = {"torch": _load_pipeline, "onnx": _load_onnx_pipeline}
