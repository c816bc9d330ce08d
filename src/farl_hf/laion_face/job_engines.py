"""Jobs that make one file each, run on this machine or on a Ray cluster.

A worker is a class: made once per process with `settings`, called with one job at a time. Jobs are independent, write
one file each, and recognise a finished file; so a job can be repeated after a machine was lost.
"""

import json
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from farl_hf.errors import FaRLError, InvalidArgumentError, MissingExtraError, UnknownNameError, check_name

ENGINES = ("local", "ray")
CONNECTION_SECONDS = 10
Worker = Callable[..., Callable[[dict[str, Any]], dict[str, Any]]]


@dataclass(frozen=True)
class Engine:
    """Where jobs run.

    Args:
        name (`str`, *optional*, defaults to `"local"`): One of `ENGINES`.
        address (`str`, *optional*): Of a running Ray cluster, or `auto`; a cluster of this machine is started if not
            given.
        num_workers (`int`, *optional*): Workers on Ray; by default as many as CPUs (or GPUs) allow.
        gpus_per_worker (`float`, *optional*, defaults to 0): GPUs of each worker on Ray.

    Raises:
        UnknownNameError: There is no such engine.
        InvalidArgumentError: An address or GPUs of workers without Ray.
    """

    name: str = "local"
    address: str | None = None
    num_workers: int | None = None
    gpus_per_worker: float = 0.0

    def __post_init__(self) -> None:
        check_name("engine", self.name, ENGINES)
        if self.name == "local" and self.address is not None:
            raise InvalidArgumentError(
                f"The address {self.address} is for a Ray cluster; add --engine ray, or omit the address."
            )
        if self.name == "local" and self.gpus_per_worker:
            raise InvalidArgumentError("--gpus-per-worker is for a Ray cluster; add --engine ray, or leave it out.")


@dataclass(frozen=True)
class JobOutcome:
    """The outcome of one job.

    Args:
        job (`dict`): The job.
        result (`dict`): What its worker answered; empty if it failed.
        error (`str`, *optional*): Why it failed.
    """

    job: dict[str, Any]
    result: dict[str, Any] = field(default_factory=dict)
    error: str | None = None


def run_jobs(
    worker: Worker, settings: dict[str, Any], jobs: Sequence[dict[str, Any]], engine: Engine
) -> Iterator[JobOutcome]:
    """Yields the outcome of every job as it comes; a job that fails does not stop the others.

    Args:
        worker (class): Made with `settings` as keyword arguments, called with a job, answers with plain values.
        settings (`dict`): Plain values.
        jobs (`list[dict[str, Any]]`): Plain values.
        engine ([`Engine`]): Where.

    Raises:
        MissingExtraError: Ray is not installed.
        UnknownNameError: There is no Ray cluster at the address.
        InvalidArgumentError: The cluster has no GPUs for the workers.
        FaRLError: The worker could not be made.
    """
    if not jobs:
        return
    rows = [{"job": json.dumps(job)} for job in jobs]
    answered: Iterable[dict[str, str]]
    if engine.name == "local":
        answered = map(TriedWorker(worker, settings), rows)
    else:
        answered = run_on_ray(worker, settings, rows, engine)
    for row in answered:
        yield JobOutcome(json.loads(row["job"]), **json.loads(row["answer"]))


class TriedWorker:
    """A worker whose jobs and answers are JSON, and whose errors are answers: one bad file must not stop the others.

    Args:
        worker (class): Its class.
        settings (`dict`): Its keyword arguments.
    """

    def __init__(self, worker: Worker, settings: dict[str, Any]):
        self.work = worker(**settings)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """The row with `answer`."""
        try:
            answer: dict[str, Any] = {"result": self.work(json.loads(row["job"]))}
        except FaRLError as error:
            answer = {"error": str(error)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        return {"job": row["job"], "answer": json.dumps(answer)}


def run_on_ray(
    worker: Worker, settings: dict[str, Any], rows: list[dict[str, str]], engine: Engine
) -> Iterator[dict[str, str]]:
    """Jobs as rows of a Ray data set, mapped by a pool of actors that each hold one worker."""
    ray = imported_ray()
    ours = not ray.is_initialized()
    if ours:
        require_answer(engine.address)
        try:
            ray.init(address=engine.address, include_dashboard=False, log_to_driver=False, logging_level="error")
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise UnknownNameError(f"There is no Ray cluster at {engine.address}: {error}") from error
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        answered = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            TriedWorker,
            fn_constructor_args=(worker, settings),
            compute=ray.data.ActorPoolStrategy(size=pool_size(ray, len(rows), engine)),
            num_gpus=engine.gpus_per_worker or None,
        )
        yield from answered.iter_rows()
    finally:
        if ours:
            ray.shutdown()


def require_answer(address: str | None) -> None:
    """Refuses an address where nothing listens: Ray itself tries for minutes and then ends the process.

    Raises:
        UnknownNameError: Nothing listens there.
    """
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if not port.isdigit():  # no address, `auto`, or a name that Ray resolves
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTION_SECONDS).close()
    except OSError as error:
        raise UnknownNameError(f"There is no Ray cluster at {address}: {error.strerror or error}.") from error


def imported_ray() -> Any:
    """The module `ray`, with `ray.data`."""
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise MissingExtraError('The engine ray needs the `ray` package: pip install "farl-hf[ray]".') from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def pool_size(ray: Any, num_jobs: int, engine: Engine) -> int:
    """Workers that fit on the cluster, no more than jobs."""
    there = ray.cluster_resources()
    room = int(there.get("CPU", 1))
    if engine.gpus_per_worker:
        room = int(there.get("GPU", 0) / engine.gpus_per_worker)
    if room < 1:
        raise InvalidArgumentError("The Ray cluster has no GPU; omit --gpus-per-worker, or add machines with GPUs.")
    return max(1, min(num_jobs, room, engine.num_workers or room))
