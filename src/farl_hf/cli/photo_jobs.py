"""Many photos in jobs: decoded by several processes, worked on by one process per device or by a Ray cluster.

A worker is a class. It is made once per process with plain settings. Its `stream` takes jobs and yields what became of
each photo; a job is a batch, so that its answers do not depend on which process takes it.
"""

import hashlib
import logging
import multiprocessing
import re
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Annotated, Any

import typer

from farl_hf.checkpoints import KNOWN_NAMES
from farl_hf.errors import FaRLError, InvalidArgumentError, UnreadablePhotoError, in_short
from farl_hf.photo_names import URL_SCHEMES

_AHEAD = 2  # decoded photos that wait for their use, per process that decodes
_PART = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_PROCESSES = re.compile(r"[1-9][0-9]{0,2}")  # more than hundreds are a slip
_MANY = "Many photos"
WorkersOption = Annotated[
    int,
    typer.Option(
        min=0,
        help="Processes that decode photos, for each device; 0: a thread. With --engine ray: workers of the cluster, "
        "0 as many as fit.",
        rich_help_panel=_MANY,
    ),
]
DevicesOption = Annotated[
    str | None,
    typer.Option(
        help="Instead of --device, several with commas, one process each: cuda:0,cuda:1; cpu:2 are two on the CPU.",
        rich_help_panel=_MANY,
    ),
]
PartOption = Annotated[
    str | None,
    typer.Option(
        metavar="K/N", help="Only the K-th of N parts of the photos, chosen by their names.", rich_help_panel=_MANY
    ),
]
OverwriteOption = Annotated[
    bool,
    typer.Option("--overwrite", help="Begin anew: remove what earlier runs wrote there.", rich_help_panel=_MANY),
]
EngineOption = Annotated[
    str,
    typer.Option(help="local, or ray: on a Ray cluster, whose machines see the same files.", rich_help_panel=_MANY),
]
AddressOption = Annotated[str | None, typer.Option(help="Of a running Ray cluster, or auto.", rich_help_panel=_MANY)]
GpusOption = Annotated[
    float, typer.Option(min=0.0, help="GPUs of each worker on Ray, 0.5 for example.", rich_help_panel=_MANY)
]


@dataclass(frozen=True)
class PhotoFile:
    """A photo of a job.

    Args:
        source (`str`): Where it is read: path or URL.
        name (`str`): As the user gave it.
        uri (`str`): See [`photo_uri`].
        stem (`str`): First part of the names of the written files.
    """

    source: str
    name: str
    uri: str
    stem: str = ""


Job = list[PhotoFile]


@dataclass(frozen=True)
class Done:
    """What became of a photo.

    Args:
        photo ([`PhotoFile`]): Which.
        content (`dict`, *optional*): See [`content_of`].
        answer (`dict`, *optional*): Plain values; None if it failed.
        fault (`str`, *optional*): Why it failed, or what is amiss with the answer.
        note (`str`, *optional*): What to tell of an answer that is whole.
    """

    photo: PhotoFile
    content: dict[str, Any] | None = None
    answer: dict[str, Any] | None = None
    fault: str | None = None
    note: str | None = None

    def line(self, **more: Any) -> dict[str, Any]:
        """For [`FinishedWork`]."""
        return {"uri": self.photo.uri, "stem": self.photo.stem, "content": self.content} | more


@dataclass(frozen=True)
class Places:
    """Where jobs run.

    Args:
        devices (`tuple`): One process each; `None` is the default device.
        engine (`str`): local or ray, with `address`, `num_workers` and `gpus_per_worker` of
            `laion_face.job_engines.Engine`.

    Raises:
        InvalidArgumentError, UnknownNameError: Options that cannot be used, or not together.
    """

    devices: tuple[str | None, ...] = (None,)
    engine: str = "local"
    address: str | None = None
    num_workers: int = 0
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        self.ray_engine()  # checks its options
        if self.engine == "ray" and self.devices != (None,):
            raise InvalidArgumentError(
                "The Ray cluster gives each worker its device; omit --device and --devices, or --engine ray."
            )

    def ray_engine(self) -> Any:
        """As the jobs of LAION-Face take it."""
        from farl_hf.laion_face.job_engines import Engine

        return Engine(self.engine, self.address, self.num_workers or None, self.gpus_per_worker)

    @property
    def num_decoders(self) -> int:
        """Processes that decode, for each device."""
        return self.num_workers if self.engine == "local" else 0


def parse_devices(device: str | None, devices: str | None) -> tuple[str | None, ...]:
    """The devices that `--device` or `--devices` names; each is one process.

    Raises:
        InvalidArgumentError: Both are given, or a number of processes is not one.
        UnknownNameError: There is no such device.
    """
    from farl_hf.cli.model_loading import require_device

    if devices is None:
        if device is not None:
            require_device(device)
        return (device,)
    if device is not None:
        raise InvalidArgumentError("--device is one device and --devices are several; give one of the two.")
    found: list[str | None] = []
    for word in filter(None, (word.strip() for word in devices.split(","))):
        name, _, number = word.partition(":")
        if name != "cpu":
            found.append(word)
        elif number and not _PROCESSES.fullmatch(number):
            raise InvalidArgumentError(
                f"--devices {in_short(word)} is no number of processes from 1 to 999; cpu:2 are two on the CPU."
            )
        else:
            found += ["cpu"] * int(number or 1)
    if not found:
        raise InvalidArgumentError("--devices names no device; expected cuda:0,cuda:1 or cpu:2, for example.")
    for one in dict.fromkeys(found):
        require_device(str(one))
    return tuple(found)


def parse_part(part: str | None) -> tuple[int, int]:
    """Number, from 1, and count of `--part`.

    Raises:
        InvalidArgumentError: It names no part.
    """
    if part is None:
        return 1, 1
    match = _PART.fullmatch(part)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        many = f"the parts of {count} are 1/{count} to {count}/{count}" if count else "expected 3/16, for example"
        raise InvalidArgumentError(f"--part {in_short(part)} is no part; {many}.")
    return number, count


def part_folder(output: Path, part: tuple[int, int]) -> Path:
    """Where a part is written: a folder of its own in the output folder, unless it is the whole."""
    return output if part[1] == 1 else output / part_name(part)


def part_name(part: tuple[int, int]) -> str:
    """Such as part-03-of-16: as many digits for each, so that names are in order."""
    number, count = part
    return f"part-{number:0{len(str(count))}}-of-{count}"


def photos_of_part(photos: Sequence[str], arguments: Sequence[str], part: tuple[int, int]) -> list[str]:
    """The photos of a part. The name of a photo within the folder that was given decides, on every machine alike.

    Args:
        photos (`Sequence[str]`): From `find_photos`.
        arguments (`Sequence[str]`): What it was given.
        part (`tuple[int, int]`): Number, from 1, and count.
    """
    number, count = part
    folders = sorted((one for one in arguments if Path(one).is_dir()), key=len, reverse=True)

    def place(photo: str) -> int:
        path = Path(photo)
        inside = (str(path.relative_to(folder)) for folder in folders if path.is_relative_to(folder))
        name = photo if photo.startswith(URL_SCHEMES) else next(inside, path.name)
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % count + 1

    return [photo for photo in photos if place(photo) == number] if count > 1 else list(photos)


def absolute_checkpoint(name: str | None) -> str | None:
    """A folder of a checkpoint by its absolute path, for processes with working folders of their own; names stay.

    A known name stays although there is a folder of that name, see [`checkpoint`].
    """
    return str(Path(name).absolute()) if name and name not in KNOWN_NAMES and Path(name).is_dir() else name


def in_jobs(photos: Iterable[PhotoFile], size: int) -> list[Job]:
    """The photos in jobs of one size; the last one may be smaller."""
    listed = list(photos)
    return [listed[start : start + size] for start in range(0, len(listed), size)]


# --- decoding -----------------------------------------------------------------------------------------------------


def decoded(photo: Any) -> Any:
    """The upright photo, or the error in its place."""
    from farl_hf.photos import load_photo

    try:
        return load_photo(photo)
    except Exception as error:  # damaged files make decoders raise almost anything
        return error


class _Decoder:
    """A data set whose indices are photos. Errors of other libraries may not survive the way between processes."""

    def __getitem__(self, photo: str) -> Any:
        made = decoded(photo)
        if isinstance(made, Exception) and not isinstance(made, FaRLError):
            return UnreadablePhotoError(str(made) or type(made).__name__)
        return made


def _unchanged(photo: Any) -> Any:
    return photo


def decoded_photos(photos: Iterable[Any], num_decoders: int) -> Iterator[Any]:
    """The photos in their order, decoded by so many processes, a few ahead; by the caller's thread if by none."""
    if not num_decoders:
        yield from map(decoded, photos)
        return
    from torch.utils.data import DataLoader

    loader: Any = DataLoader(
        _Decoder(),  # type: ignore[arg-type]  # what it needs of a data set
        sampler=photos,
        batch_size=None,
        num_workers=num_decoders,
        prefetch_factor=_AHEAD,
        collate_fn=_unchanged,
        multiprocessing_context="spawn",
    )
    try:
        yield from loader
    except RuntimeError as error:  # one of its processes was killed, by want of memory for example
        raise FaRLError(f"A process that decodes photos ended: {error}. Run the command again.") from error


# --- places -------------------------------------------------------------------------------------------------------


def check_before_removal(
    worker: Callable[..., Any], settings: dict[str, Any], places: Places, failures: dict[str, Exception]
) -> None:
    """For `--overwrite`: what would end the run, or leave photos out, ends it before anything is removed.

    Args:
        worker (class), settings (`dict`), places ([`Places`]): See `done_photos`. A worker is made once, which loads
            its models, and dropped.
        failures (`dict`): Arguments that name no photo, with the reason.

    Raises:
        InvalidArgumentError: There are such arguments.
        FaRLError: A worker could not be made.
    """
    for argument, reason in failures.items():
        raise InvalidArgumentError(f"{argument}: {reason} With --overwrite nothing is removed then; name others.")
    worker(**settings, num_decoders=0, device="cpu" if places.engine == "ray" else places.devices[0])


def done_photos(
    worker: Callable[..., Any], settings: dict[str, Any], jobs: Sequence[Job], places: Places
) -> Iterator[Done]:
    """Yields what became of each photo, as it comes.

    Args:
        worker (class): See the top of this file.
        settings (`dict`): Plain values; `device` and `num_decoders` are added.
        jobs (`Sequence`): Lists of photos.
        places ([`Places`]): Where.

    Raises:
        FaRLError: The worker could not be made, or a process ended.
        FileWriteError: The disk is full, or a file cannot be written.
    """
    if not jobs:
        return
    settings = settings | {"num_decoders": places.num_decoders}
    if places.engine == "ray":
        yield from _on_ray(worker, settings, jobs, places)
    elif len(places.devices) == 1:
        yield from worker(**settings, device=places.devices[0]).stream(jobs)
    else:
        yield from _in_processes(worker, settings, jobs, places.devices)


def _in_processes(
    worker: Callable[..., Any], settings: dict[str, Any], jobs: Sequence[Job], devices: Sequence[str | None]
) -> Iterator[Done]:
    import torch

    context = multiprocessing.get_context("spawn")  # a fork would share the locks of threads
    num_threads = max(1, torch.get_num_threads() // max(1, devices.count("cpu")))
    running: dict[Connection, tuple[Any, str | None]] = {}
    try:
        for number, device in enumerate(devices[: len(jobs)]):
            ours, theirs = context.Pipe(duplex=False)
            made = settings | {"device": device}
            arguments = (theirs, worker, made, jobs[number :: len(devices)], num_threads, number > 0)
            process = context.Process(target=_work, args=arguments)
            process.start()
            theirs.close()
            running[ours] = (process, device)
        waiting = list(running)
        while waiting:
            connections: Any = wait(waiting)
            for connection in connections:
                try:
                    message = connection.recv()
                except EOFError:
                    process, device = running[connection]
                    process.join()
                    raise FaRLError(
                        f"The process on {device} ended with exit status {process.exitcode}. Run the command again; "
                        "what was finished is kept."
                    ) from None
                if message is None:
                    waiting.remove(connection)
                elif isinstance(message, BaseException):
                    raise message
                else:
                    yield message
    finally:
        for process, _ in running.values():
            process.terminate()
        for process, _ in running.values():
            process.join()


def _work(
    connection: Connection,
    worker: Callable[..., Any],
    settings: dict[str, Any],
    jobs: Sequence[Job],
    num_threads: int,
    is_quiet: bool,
) -> None:
    """A process of a device: sends what became of each photo, then None; or the error that ends the run."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this process
    if is_quiet:
        logging.disable(logging.WARNING)  # the first process says it
    torch.set_num_threads(num_threads)
    try:
        try:
            for done in worker(**settings).stream(jobs):
                connection.send(done)
            connection.send(None)
        except FaRLError as error:
            connection.send(error)
    except BrokenPipeError:  # the parent was killed
        return


class _RayWorker:
    """A worker as `run_jobs` takes it: plain values in and out."""

    def __init__(self, worker: Callable[..., Any], settings: dict[str, Any]) -> None:
        self.work = worker(**settings, device=None)

    def __call__(self, job: dict[str, Any]) -> dict[str, Any]:
        photos = [PhotoFile(**photo) for photo in job["photos"]]
        return {"done": [vars(done) | {"photo": vars(done.photo)} for done in self.work.stream([photos])]}


def _on_ray(
    worker: Callable[..., Any], settings: dict[str, Any], jobs: Sequence[Job], places: Places
) -> Iterator[Done]:
    from farl_hf.laion_face.job_engines import run_jobs

    plain = [{"photos": [vars(_anywhere(photo)) for photo in job]} for job in jobs]
    made = {"worker": worker, "settings": settings}
    for outcome in run_jobs(_RayWorker, made, plain, places.ray_engine()):
        if outcome.error is not None:
            yield from (Done(PhotoFile(**photo), fault=outcome.error) for photo in outcome.job["photos"])
        for done in outcome.result.get("done", ()):
            yield replace(Done(**done), photo=PhotoFile(**done["photo"]))


def _anywhere(photo: PhotoFile) -> PhotoFile:
    """The photo with an absolute path: workers have working folders of their own."""
    is_url = photo.source.startswith(URL_SCHEMES)
    return photo if is_url else replace(photo, source=str(Path(photo.source).absolute()))
