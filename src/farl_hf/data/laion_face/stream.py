"""An endless, shuffled stream of pre-training samples from shards, split between processes, resumed exactly.

Every reader (one loader worker of one process) has its own shards, in an order that seed and epoch give. It opens as
many as hold `window_size` samples, shuffles these, and reads them where they lie, so that no sample waits in memory.
The place in the stream is hence a few numbers. They travel with every sample, together with the counts of skipped
samples, so that they need no files and outlive loader workers. Resuming loses no sample and repeats none.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from farl_hf.data.images import OversizedPhotoError
from farl_hf.data.laion_face.shards import (
    SKIP_REASONS,
    FaceFilter,
    OpenShard,
    Shard,
    SkippedSampleError,
    counts_in_words,
)
from farl_hf.data.samples.pretraining_samples import PretrainingTransform
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError, UnreadablePhotoError

# The column that travels with every sample.
STREAM_STATE = "stream_state"
# A source's place: epoch, first shard of the window among the reader's, samples of the window that were read.
PLACE_SIZE = 3
SOURCE_SIZE = PLACE_SIZE + len(SKIP_REASONS)
SOURCES = ("faces", "others")
# The state: reader of this process, their number, samples so far, and then each source.
HEADER_SIZE = 3


class PretrainingStream(IterableDataset):
    """Samples of pre-training from shards.

    Args:
        shards (`list[Shard]`): Where faces are, from [`find_shards`].
        transform ([`PretrainingTransform`]): Makes a sample of a row. Its seed is also that of the order.
        other_shards (`list[Shard]`, *optional*): Where photos are whose faces do not matter: they are cropped to their
            centre.
        face_ratio (`float`, *optional*): Share of samples from `shards`, the rest from `other_shards`; exact in every
            reader from the first sample on, up to one.
        face_filter ([`FaceFilter`], *optional*): Which faces are used.
        window_size (`int`, *optional*, defaults to 10000): Least number of samples that are shuffled together, per
            reader; whole shards. 0 keeps the order of the shards.
        num_epochs (`int`, *optional*): Passes over the data; endless by default, so that no process runs out of
            samples before another.
        rank, world_size (`int`, *optional*): This process and the number of processes.

    Yields:
        What the transform makes, and `stream_state` for [`StreamProgress`].

    Raises:
        InvalidDatasetError: A whole pass over a reader's shards gave no sample; the message counts the reasons.
        InvalidArgumentError: `face_ratio` without both kinds of shards, or not in [0, 1].
    """

    def __init__(
        self,
        shards: Sequence[Shard],
        transform: PretrainingTransform,
        *,
        other_shards: Sequence[Shard] | None = None,
        face_ratio: float | None = None,
        face_filter: FaceFilter | None = None,
        window_size: int = 10_000,
        num_epochs: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        check_face_ratio(face_ratio, other_shards)
        self.face_ratio = 1.0 if face_ratio is None else float(face_ratio)
        self.transform, self.window_size, self.num_epochs = transform, window_size, num_epochs
        self.rank, self.world_size = rank, world_size
        self.sources = [
            (list(shards), face_filter or FaceFilter()),
            (list(other_shards or ()), None),
        ]
        self.resumed: dict[str, Any] | None = None

    def load_state_dict(self, state: dict[str, Any], num_workers: int | None = None) -> None:
        """Continues where [`StreamProgress`] was.

        Args:
            state (`dict`): From [`StreamProgress`].
            num_workers (`int`, *optional*): Loader workers to come: if they are not as many as in the state, the error
                comes here and not with the first batch.

        Raises:
            InvalidArgumentError: The state is of another process, of another number of processes or loader workers,
                or of other shards.
        """
        if (state["rank"], state["world_size"]) != (self.rank, self.world_size):
            raise InvalidArgumentError(
                f"The state of the stream is of process {state['rank']} of {state['world_size']}, this is process"
                f" {self.rank} of {self.world_size}; resume with as many processes, or start the stream anew."
            )
        if state["num_shards"] != self.num_shards:
            raise InvalidArgumentError(
                f"The state is of a stream with {state['num_shards'][0]} shards of faces and {state['num_shards'][1]}"
                f" of other photos, this one has {self.num_shards[0]} and {self.num_shards[1]}; resume with the same"
                " shards, or start the stream anew."
            )
        if num_workers is not None:
            check_num_workers(state, max(1, num_workers))
        self.resumed = state

    @property
    def num_shards(self) -> list[int]:
        """Shards of faces and of other photos."""
        return [len(shards) for shards, _ in self.sources]

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker, num_workers = self.worker()
        reader = self.rank * num_workers + worker
        state = self.state_of(worker)
        sources = [
            SourceReader(
                *source, self.transform, (reader, self.world_size * num_workers), self.window_size, self.num_epochs,
                source_state(state, i),
            )
            for i, source in enumerate(self.sources)
        ]  # fmt: skip
        streams, count = [iter(source) for source in sources], int(state[2])
        while True:
            chosen = 0 if math.floor((count + 1) * self.face_ratio) > math.floor(count * self.face_ratio) else 1
            sample = next(streams[chosen], None)
            if sample is None:
                return
            count += 1
            now = np.concatenate([[worker, num_workers, count], *[source.state() for source in sources]])
            yield sample | {STREAM_STATE: torch.from_numpy(now)}

    def worker(self) -> tuple[int, int]:
        """The number of this loader worker among the readers of its process, and how many there are.

        A loader asks its workers in turn, worker 0 first. After a resume, worker 0 is the reader whose turn it is.
        """
        info = get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        if self.resumed is None:
            return worker, num_workers
        check_num_workers(self.resumed, num_workers)
        return (worker + self.resumed["next_worker"]) % num_workers, num_workers

    def state_of(self, worker: int) -> np.ndarray:
        """The state vector from which a reader goes on."""
        start = np.zeros(HEADER_SIZE + len(SOURCES) * SOURCE_SIZE, np.int64)
        return start if self.resumed is None else np.array(self.resumed["readers"].get(str(worker), start), np.int64)

    def captions(self, limit: int = 100_000) -> Iterator[str]:
        """The captions of the first samples that have one, without a look at pictures."""
        for shard in [shard for shards, _ in self.sources for shard in shards]:
            opened = OpenShard(shard, None)
            for number in range(len(opened)):
                if limit <= 0:
                    break
                try:
                    yield opened.caption(number)
                    limit -= 1
                except SkippedSampleError:
                    continue
            opened.close()


class SourceReader:
    """The part of one kind of shards that one reader sees, in the order of seed and epoch.

    Args:
        shards, face_filter, transform, window_size, num_epochs: As in [`PretrainingStream`].
        reader (`tuple[int, int]`): Which of how many readers.
        state (`numpy.ndarray`): Where to go on; zeros at the start.
    """

    def __init__(
        self,
        shards: list[Shard],
        face_filter: FaceFilter | None,
        transform: PretrainingTransform,
        reader: tuple[int, int],
        window_size: int,
        num_epochs: int | None,
        state: np.ndarray,
    ):
        self.shards, self.face_filter, self.transform = shards, face_filter, transform
        self.reader, self.num_readers = reader
        self.window_size, self.num_epochs = window_size, num_epochs
        self.place = tuple(int(number) for number in state[:PLACE_SIZE])
        self.skipped = Counter(dict(zip(SKIP_REASONS, state[PLACE_SIZE:].tolist(), strict=True)))

    def state(self) -> np.ndarray:
        """From here the next sample is read; the counts are those since the start of the training."""
        return np.array([*self.place, *(self.skipped[reason] for reason in SKIP_REASONS)], np.int64)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        epoch, first, done = self.place
        barren = 0
        while self.num_epochs is None or epoch < self.num_epochs:
            barren += (first, done) == (0, 0)
            for sample in self.epoch_samples(epoch, first, done):
                barren = 0
                yield sample
            self.check_harvest(barren)
            epoch, first, done = epoch + 1, 0, 0

    def check_harvest(self, barren: int) -> None:
        """Raises [`InvalidDatasetError`] when so many passes in a row without a sample mean that there is none."""
        # Readers take turns where there are fewer samples than readers.
        if self.num_epochs is None and barren >= (self.num_readers if self.shares_shards else 1):
            raise InvalidDatasetError(
                f"No sample of {len(self.shards)} shards can be used (reader {self.reader} of {self.num_readers});"
                f" skipped: {counts_in_words(self.skipped)}."
            )

    def epoch_samples(self, epoch: int, first: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
        """The samples of one pass, from a window and a place in it on."""
        shards = self.own_shards(epoch)
        while first < len(shards):
            window = self.open_window(shards, first, counting=done == 0)
            for step, (shard, number) in enumerate(self.order(window, epoch, first)[done:], start=done + 1):
                self.place = epoch, first, step
                sample = self.sample(window[shard], number, epoch)
                if sample is not None:
                    yield sample
            for opened in window:
                opened.close()
            first, done = first + len(window), 0

    def chance(self, *purpose: int) -> np.random.Generator:
        """A random generator that is the same in all readers."""
        return np.random.default_rng((self.transform.seed, *purpose))

    @property
    def shares_shards(self) -> bool:
        """With fewer shards than readers, each opens all shards, in one window, and takes its share of samples."""
        return len(self.shards) < self.num_readers

    def own_shards(self, epoch: int) -> list[Shard]:
        """The reader's shards of an epoch, in order."""
        order = self.chance(epoch).permutation(len(self.shards)) if self.window_size else range(len(self.shards))
        shards = [self.shards[i] for i in order]
        return shards if self.shares_shards else shards[self.reader :: self.num_readers]

    def open_window(self, shards: list[Shard], first: int, counting: bool) -> list[OpenShard]:
        """Opens the next shards, until they hold enough samples."""
        window: list[OpenShard] = []
        for shard in shards[first:]:
            window.append(OpenShard(shard, self.face_filter))
            # What is wrong with a whole shard is counted once: not again after a resume, not by every reader of it.
            if counting and (self.reader == 0 or not self.shares_shards):
                self.skipped.update(window[-1].skipped)
            if not self.shares_shards and sum(map(len, window)) >= self.window_size:
                break
        return window

    def order(self, window: list[OpenShard], epoch: int, first: int) -> np.ndarray:
        """(n, 2): shard of the window and number in it of each sample, in the order in which they are read."""
        numbers = [np.stack([np.full(len(shard), i), np.arange(len(shard))], axis=1) for i, shard in enumerate(window)]
        places = np.concatenate(numbers)
        if self.window_size:
            # Readers that share shards must shuffle alike, the others need not.
            chance = self.chance(epoch, first) if self.shares_shards else self.chance(epoch, first, self.reader)
            places = chance.permutation(places)
        return places[(self.reader + epoch) % self.num_readers :: self.num_readers] if self.shares_shards else places

    def sample(self, shard: OpenShard, number: int, epoch: int) -> dict[str, torch.Tensor] | None:
        """The sample, or None when it is skipped."""
        try:
            return self.transform.sample(shard.row(number) | {"epoch": epoch})
        except SkippedSampleError as error:
            self.skipped[error.reason] += 1
        except OversizedPhotoError:
            self.skipped["oversized_image"] += 1
        except UnreadablePhotoError:
            self.skipped["unreadable_image"] += 1
        return None


class StreamProgress:
    """How far the batches of one process's [`PretrainingStream`] have come, and what was skipped on the way.

    Pass every batch that the data loader gives; only what was trained on counts, not what workers read ahead.

    Args:
        stream ([`PretrainingStream`]): The stream; a state that it has loaded is where the counting begins.

    Example:
        >>> progress = StreamProgress(stream)  # doctest: +SKIP
        >>> for batch in loader:  # doctest: +SKIP
        ...     progress.take(batch)
        >>> stream.load_state_dict(progress.state_dict())  # doctest: +SKIP
    """

    def __init__(self, stream: PretrainingStream):
        self.rank, self.world_size, self.num_shards = stream.rank, stream.world_size, stream.num_shards
        resumed = stream.resumed or {}
        self.readers: dict[str, list[int]] = dict(resumed.get("readers", {}))
        self.next_worker, self.num_workers = resumed.get("next_worker", 0), resumed.get("num_workers", 1)

    def take(self, batch: dict[str, torch.Tensor]) -> None:
        """Takes the column `stream_state` out of a batch and remembers it."""
        last = batch.pop(STREAM_STATE)[-1].tolist()  # a batch is of one loader worker
        worker, self.num_workers = last[:2]
        self.readers[str(worker)] = last
        self.next_worker = (worker + 1) % self.num_workers

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON."""
        return {
            "rank": self.rank,
            "world_size": self.world_size,
            "num_shards": self.num_shards,
            "num_workers": self.num_workers,
            "next_worker": self.next_worker,
            "readers": self.readers,
        }

    @property
    def skipped(self) -> dict[str, int]:
        """What this process has skipped since the start, by reason; reasons that did not occur are 0."""
        totals = Counter(dict.fromkeys(SKIP_REASONS, 0))
        for state in self.readers.values():
            for i in range(len(SOURCES)):
                totals.update(dict(zip(SKIP_REASONS, source_state(state, i)[PLACE_SIZE:], strict=True)))
        return dict(totals)

    @property
    def num_samples(self) -> int:
        """Samples that this process has seen since the start."""
        return sum(state[2] for state in self.readers.values())


def source_state(state: Any, number: int) -> Any:
    """The part of a state vector (an array or a list) that is of one source."""
    start = HEADER_SIZE + number * SOURCE_SIZE
    return state[start : start + SOURCE_SIZE]


def check_num_workers(state: dict[str, Any], num_workers: int) -> None:
    """Raises [`InvalidArgumentError`] unless a state has this number of loader workers."""
    if state["num_workers"] != num_workers:
        raise InvalidArgumentError(
            f"The state of the stream is of {state['num_workers']} loader workers, there are {num_workers}; resume"
            " with as many, or start the stream anew."
        )


def check_face_ratio(face_ratio: float | None, other_shards: Sequence[Shard] | None) -> None:
    """Raises [`InvalidArgumentError`] for a ratio outside [0, 1], or without the shards that it mixes."""
    if face_ratio is None:
        return
    if not 0 <= face_ratio <= 1:
        raise InvalidArgumentError(f"face_ratio is {face_ratio}; expected a share in [0, 1].")
    if face_ratio < 1 and not other_shards:
        raise InvalidArgumentError(
            f"face_ratio is {face_ratio}, but there are no shards of other photos; name their folder."
        )
