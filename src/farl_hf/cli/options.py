"""What commands share: options, names of tasks, and errors as one sentence with an exit status."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.errors import (
    FaRLError,
    InvalidArgumentError,
    MissingExtraError,
    UnknownNameError,
    check_name,
    in_short,
    without_controls,
)
from farl_hf.photo_names import readable_name

TASKS = tuple(DEFAULT_CHECKPOINTS)
DETECTION = "face-detection"
LANDMARKS = "face-landmarks"
IMAGE_TEXT_MODEL = "farl-tiny"  # the default of commands that compare faces with texts
USAGE_ERROR = 2  # exit status of a command that could not start
_PACKAGE_OF = {"sklearn": "scikit-learn", "yaml": "pyyaml"}  # where the name of the module is another one
SOME_FAILED = 1  # exit status when photos failed, or no face was found

ThresholdOption = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Lowest score of a face. Default: the detector's.")
]
DetectorOption = Annotated[str | None, typer.Option(help="Name or folder of a face-detection checkpoint.")]
DeviceOption = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, mps … Default: the first accelerator, else cpu.")
]
AlignedOption = Annotated[bool, typer.Option("--aligned", help="Each photo shows one face; do not detect.")]
ImageTextModelOption = Annotated[
    str, typer.Option("--model", "-m", help="Name or folder of a model of images and texts.")
]
PhotosArgument = Annotated[
    list[str] | None, typer.Argument(help="Photos, folders (with subfolders), 'glob patterns' or URLs.")
]
NewFolderOption = Annotated[Path, typer.Option("--output", "-o", help="Folder to make; it must be new or empty.")]
DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder of the data set, as its owners distribute it.")
]
MaxSamplesOption = Annotated[
    int | None, typer.Option("--max-samples", min=1, help="At most so many photos of a split.")
]
PublicOption = Annotated[
    bool, typer.Option("--public/--private", help="Who can see a new repository; an existing one stays as it is.")
]


def parse_tasks(words: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
    """Task names from command-line words, in the order of `TASKS` and each once.

    Args:
        words (`Sequence[str]`): Names with or without `face-`; one word may hold several, separated by commas.
        without (`Sequence[str]`): Tasks to ignore.

    Raises:
        UnknownNameError: If a name is not a task, or none is left; the message lists the tasks.
    """
    chosen = {name if name.startswith("face-") else f"face-{name}" for name in parse_names(words)}
    known = [task for task in TASKS if task not in without]
    for name in sorted(chosen - set(without)):
        check_name("task", name, known, "The prefix 'face-' is optional.")
    tasks = tuple(task for task in TASKS if task in chosen and task not in without)
    if not tasks:
        raise UnknownNameError(f"No task remains; choose from {', '.join(known)}.")
    return tasks


def parse_names(words: Sequence[str]) -> tuple[str, ...]:
    """Names from command-line words, one of which may hold several, separated by commas."""
    return tuple(name.strip() for word in words for name in word.split(",") if name.strip())


def counted(number: int, noun: str) -> str:
    """Such as "1 face" and "2,000 faces"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def printable(text: str, kept: str = "\n\t") -> str:
    """The text with bytes that are not UTF-8 and control characters escaped; these may change the user's terminal."""
    return without_controls(readable_name(text), kept)


class UserConsole(Console):
    """A console for texts that users name: no markup, no control characters."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """See [`rich.console.Console.render_str`]."""
        return super().render_str(printable(text), **settings)


def error_console() -> Console:
    """The console of the error stream."""
    return Console(stderr=True, soft_wrap=True)


def plain_console() -> Console:
    """A console that neither breaks long lines nor colours numbers and paths."""
    return UserConsole(soft_wrap=True, highlight=False)


@contextmanager
def progress_bar(what: str, unit: str, total: int | None = None) -> Iterator[Callable[..., None]]:
    """A progress bar on the error stream.

    Yields:
        `Callable`: Called with `advance=count`, or with `completed=count` and `total=count`.
    """
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=error_console(), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda **change: progress.update(task, **change)


class _SpeedColumn(ProgressColumn):
    """How many come per second, in the unit of the task."""

    def render(self, task: Task) -> Text:
        """See [`rich.progress.ProgressColumn.render`]."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} {task.fields['unit']}/s")


@contextmanager
def photos_progress(total: int, finished: int = 0) -> Iterator[Progress]:
    """A progress bar of photos, with photos per second and the time left.

    Args:
        total (`int`): All photos.
        finished (`int`): Those that an earlier run finished; they do not count as speed.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, _SpeedColumn(), TimeRemainingColumn(), console=error_console()) as progress:
        progress.add_task("Looking at photos", total=total, completed=finished, unit="photos")
        yield progress


def refuse_unused(value: Any, option: str, is_used: bool, where: str) -> None:
    """Refuses an option that would change nothing.

    Raises:
        InvalidArgumentError: It was given, and is not used.
    """
    if value is not None and not is_used:
        raise InvalidArgumentError(f"{option} is used only {where}; leave it out.")


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """See [`~farl_hf.whole_files.held_folder`], whose file the commands import when they write."""
    from farl_hf.whole_files import held_folder

    with held_folder(folder):
        yield folder


def report_failures(failures: Mapping[str, Exception | str]) -> None:
    """Print which photos failed, and why."""
    for photo, error in failures.items():
        error_console().print(Text.assemble(("Failed: ", "bold red"), printable(f"{photo}: {error}", kept="")))


def report_notes(notes: Iterable[str]) -> None:
    """Print what to know of results that are whole."""
    for note in notes:
        error_console().print(printable(note))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turn a `FaRLError`, and a refusal of the operating system, into a message and exit status 2."""
    cause: Exception
    try:
        yield
    except FaRLError as error:
        words, cause = str(error), error
    except OSError as error:  # what no other code expected of a disk, a name or a right
        if error.strerror is None:
            raise
        words, cause = f"{in_short(error.filename or 'A file', 300)} cannot be used: {error.strerror}.", error
    except (ImportError, RuntimeError) as error:
        missing = missing_extra(error) or _unfit_torchvision(error)
        if missing is None:
            raise
        words, cause = str(missing), error
    else:
        return
    error_console().print(Text.assemble(("Error: ", "bold red"), printable(words, kept="")))
    raise typer.Exit(USAGE_ERROR) from cause


def _unfit_torchvision(error: BaseException | None) -> MissingExtraError | None:
    """The error of a torchvision that was built for another torch; None if the cause is something else."""
    while error is not None:
        if "torchvision" in str(error):
            versions = " and ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision"))
            return MissingExtraError(
                f"{versions} do not go together ({in_short(error)}): pip install --upgrade torch torchvision."
            )
        error = error.__cause__
    return None


def missing_extra(error: BaseException | None) -> MissingExtraError | None:
    """The error that names the extra of a package which is not installed; None if the cause is something else."""
    while error is not None:
        name = (getattr(error, "name", None) or "none").partition(".")[0]
        package = _PACKAGE_OF.get(name, name).lower()
        for requirement in metadata.requires("farl-hf") or ():
            if found := re.match(
                rf"{re.escape(package)}\b(?![.-]).*extra == ['\"]([\w-]+)", requirement, re.IGNORECASE
            ):
                return MissingExtraError(f'This needs the `{package}` package: pip install "farl-hf[{found[1]}]".')
        error = error.__cause__  # Transformers raises another one
    return None
