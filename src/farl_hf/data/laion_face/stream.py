"""An endless, shuffled stream of pre-training samples from shards, split between processes, resumed exactly.

All readers (the loader workers of all processes) agree on one order of an epoch's samples, which seed and epoch give:
shards are shuffled; as many as hold `window_size` samples form a window, and the samples of a window are shuffled.
This order is dealt like cards: sample by sample to the processes, batch by batch to the workers of a process. So a
step has the next samples of the order, whatever the number of readers, and an epoch has every sample once.

Samples are read in place, from the tar, without a buffer in memory. So the state of a reader is a few numbers. They
travel with every sample, together with the counts of skipped samples, so that they outlive loader workers. A skipped
sample is replaced by the reader's next one. A run that is resumed with another number of readers, or another batch
size, deals what is left of the order anew: nothing is lost and nothing comes twice.
"""

import contextlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from farl_hf.data.laion_face.shards import (
    SKIP_REASONS,
    FaceFilter,
    OpenShard,
    Shard,
    SkippedSampleError,
    counts_in_words,
    skip_reason,
)
from farl_hf.data.samples.pretraining_samples import PretrainingTransform
from farl_hf.errors import InvalidArgumentError, InvalidDatasetError, InvalidFaceInputError, UnreadablePhotoError

# The column that travels with every sample.
STREAM_STATE = "stream_state"
# Of the files that `StreamProgress` fills; another number wherever `SKIP_REASONS` change, whose counts have no names.
# Version 1, which had no number, gave every reader shards of its own; version 2 did not know repeated keys.
STATE_VERSION = 3
# A reader's place in a source: epoch, first shard of the window, samples of the window that were passed; shards and
# samples of the window.
PLACE_SIZE = 5
NUM_REASONS = len(SKIP_REASONS)
SOURCES = ("faces", "others")
# What travels with a sample: worker of its process, their number, samples so far, and then each source: the place,
# how many samples each deal had given out before the window, and how many were skipped for each reason.
HEADER_SIZE = 3
# What decides who reads which sample.
LAYOUT = ("world_size", "num_workers", "batch_size")
# A reader that cannot use so many samples in a row, and none of a whole pass, gives up.
MAX_UNUSED = 10_000


@dataclass(frozen=True)
class Deal:
    """How an order of samples is dealt to readers, and how far each has come where the dealing was stopped.

    Args:
        world_size, num_workers, batch_size (`int`): Processes, loader workers of each, samples of a worker's batch.
        places (`numpy.ndarray` of shape `(world_size * num_workers, 3)`, *optional*): The readers' places; none of
            the deal in use.
    """

    world_size: int
    num_workers: int
    batch_size: int
    places: np.ndarray = field(default_factory=lambda: np.zeros((0, 3), np.int64))

    def readers(self, first: int, count: int) -> np.ndarray:
        """(count,): the reader of each sample from the `first` dealt one on; reader = process * workers + worker."""
        numbers = np.arange(first, first + count)
        worker = numbers // self.world_size // self.batch_size % self.num_workers
        return numbers % self.world_size * self.num_workers + worker

    def left(self, epoch: int, window: int, passed: np.ndarray, first: int) -> np.ndarray:
        """Those of the samples `passed` of a window, given out from number `first` on, that no reader has passed."""
        epochs, windows, done = self.places[self.readers(first, len(passed))].T
        later = (epochs > epoch) | ((epochs == epoch) & (windows > window))
        return passed[~(later | ((epochs == epoch) & (windows == window) & (done > passed)))]

    def reaches(self, place: tuple[int, int, int]) -> bool:
        """Whether a reader has passed samples from the window of a place on."""
        return any(tuple(reached) > place for reached in self.places.tolist())

    def numbers(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {name: getattr(self, name) for name in LAYOUT} | {"places": self.places.tolist()}


class SourcePlace(NamedTuple):
    """How far a reader has come in one source.

    Args:
        place (`tuple[int, int, int]`): Epoch, first shard of the window, samples of the window that were passed.
        window (`tuple[int, int]`): Shards and samples of the window.
        dealt (`list[int]`): Samples that each deal had given out before this window, the deal in use last.
        skipped (`list[int]`): Skipped samples for each of `SKIP_REASONS`, since the start.
    """

    place: tuple[int, int, int]
    window: tuple[int, int]
    dealt: list[int]
    skipped: list[int]

    def numbers(self) -> list[int]:
        """All of it, as it travels with a sample."""
        return [*self.place, *self.window, *self.dealt, *self.skipped]


def source_places(numbers: Sequence[int], num_deals: Sequence[int]) -> list[SourcePlace]:
    """The places in each source, of what travels with a sample; `num_deals` are the deals of each."""
    places, start = [], HEADER_SIZE
    for count in num_deals:
        epoch, first, done, num_shards, num_samples, *rest = numbers[start : start + PLACE_SIZE + count + NUM_REASONS]
        place = SourcePlace((epoch, first, done), (num_shards, num_samples), rest[:count], rest[count:])
        places.append(place)
        start += PLACE_SIZE + count + NUM_REASONS
    return places


@dataclass
class StreamStart:
    """Where the readers of a process begin.

    Args:
        deals (`list[list[Deal]]`): Of each source, the deals that were stopped and still matter.
        first (`list[int]`): State of a reader that has not begun.
        readers (`dict[str, list[int]]`): States of readers that go on, by loader worker.
        next_worker (`int`): The worker whose batch comes first.
        num_workers (`int`, *optional*): For how many workers this is; None for any.
        skipped (`list[int]`): What readers of stopped deals have skipped, by reason. The first process counts it.
        num_samples (`int`): What they have given.
    """

    deals: list[list[Deal]]
    first: list[int]
    readers: dict[str, list[int]] = field(default_factory=dict)
    next_worker: int = 0
    num_workers: int | None = None
    skipped: list[int] = field(default_factory=lambda: [0] * NUM_REASONS)
    num_samples: int = 0

    @property
    def num_deals(self) -> list[int]:
        """Deals of each source, the one in use included."""
        return [len(deals) + 1 for deals in self.deals]

    @classmethod
    def at_the_first_sample(cls) -> "StreamStart":
        """The start of a new stream."""
        return cls([[] for _ in SOURCES], [0] * (HEADER_SIZE + len(SOURCES) * (PLACE_SIZE + 1 + NUM_REASONS)))

    @classmethod
    def of_process(cls, state: dict[str, Any]) -> "StreamStart":
        """The start of a process that goes on as one of as many, with as many workers and the same batches."""
        deals = [
            [Deal(**deal | {"places": np.array(deal["places"])}) for deal in stopped] for stopped in state["deals"]
        ]
        names = ("first", "readers", "next_worker", "num_workers", "skipped", "num_samples")
        return cls(deals, **{name: state[name] for name in names})

    @classmethod
    def of_all(cls, states: Sequence[dict[str, Any]], num_workers: int, rank: int) -> "StreamStart":
        """The start where other readers go on: what the earlier ones have left is dealt anew."""
        starts = [cls.of_process(state) for state in sorted(states, key=lambda state: state["rank"])]
        layout = {name: states[0][name] for name in LAYOUT}
        readers = [start.readers.get(str(i), start.first) for start in starts for i in range(layout["num_workers"])]
        deals, first = [], [0] * HEADER_SIZE
        skipped = np.sum([start.skipped for start in starts], axis=0)
        by_source = zip(*(source_places(numbers, starts[0].num_deals) for numbers in readers), strict=True)
        for stopped, places in zip(starts[0].deals, by_source, strict=True):
            slowest = min(places, key=lambda each: each.place)
            begin = (slowest.place[0], slowest.place[1], 0)
            all_deals = [*stopped, Deal(**layout, places=np.array([each.place for each in places]))]
            kept = [i for i, deal in enumerate(all_deals) if deal.reaches(begin)]
            deals.append([all_deals[i] for i in kept])
            dealt = [slowest.dealt[i] for i in kept]
            first += SourcePlace(begin, (0, 0), [*dealt, 0], [0] * NUM_REASONS).numbers()
            skipped = skipped + np.sum([each.skipped for each in places], axis=0)
        num_samples = sum(start.num_samples for start in starts) + sum(numbers[2] for numbers in readers)
        if rank:
            skipped, num_samples = 0 * skipped, 0
        return cls(deals, first, {}, 0, num_workers, skipped.tolist(), num_samples)


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
        window_size (`int`, *optional*, defaults to 100000): Least number of samples that are shuffled together; whole
            shards. 0 keeps the order of the shards.
        batch_size (`int`, *optional*, defaults to 1): That of the loader. With it, the batches of a step are the next
            samples of the epoch's order.
        num_epochs (`int`, *optional*): Passes over the data; endless by default, so that no process runs out of
            samples before another.
        rank, world_size (`int`, *optional*): This process and the number of processes.

    Yields:
        What the transform makes, and `stream_state` for [`StreamProgress`].

    Raises:
        InvalidDatasetError: A whole pass gave a reader no sample; the message counts the reasons.
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
        window_size: int = 100_000,
        batch_size: int = 1,
        num_epochs: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        check_face_ratio(face_ratio, other_shards)
        self.face_ratio = 1.0 if face_ratio is None else float(face_ratio)
        self.transform, self.window_size, self.num_epochs = transform, window_size, num_epochs
        self.rank, self.world_size, self.batch_size = rank, world_size, batch_size
        self.sources = [
            (list(shards), face_filter or FaceFilter()),
            (list(other_shards or ()), None),
        ]
        self.start = StreamStart.at_the_first_sample()

    def load_state_dict(self, states: dict[str, Any] | Sequence[dict[str, Any]], num_workers: int = 0) -> None:
        """Continues where [`StreamProgress`] was.

        Args:
            states (`dict` or `list[dict]`): From the [`StreamProgress`] of this process. Where the number of
                processes, of loader workers, or the batch size differs: those of all processes.
            num_workers (`int`, *optional*, defaults to 0): Loader workers to come.

        Raises:
            InvalidArgumentError: The state is of other shards, of another seed or window, of another version, or
                not of all processes.
        """
        states = [states] if isinstance(states, dict) else list(states)
        for state in states:
            self.check_order(state)
        num_workers = max(1, num_workers)
        layout = (self.world_size, num_workers, self.batch_size)
        if layout == tuple(states[0][name] for name in LAYOUT):
            own = [state for state in states if state["rank"] == self.rank]
            if not own:
                raise InvalidArgumentError(
                    f"The state of the stream is of process {states[0]['rank']} of {self.world_size}, this is process"
                    f" {self.rank}; pass the state of this process."
                )
            self.start = StreamStart.of_process(own[0])
            return
        missing = set(range(states[0]["world_size"])) - {state["rank"] for state in states}
        if missing:
            raise InvalidArgumentError(
                f"The stream was read by {states[0]['world_size']} processes with {states[0]['num_workers']} loader"
                f" workers and batches of {states[0]['batch_size']}, it goes on with {layout[0]}, {layout[1]} and"
                f" {layout[2]}; that needs the states of all earlier processes, but those of"
                f" {', '.join(map(str, sorted(missing)))} are missing."
            )
        self.start = StreamStart.of_all(states, num_workers, self.rank)

    def check_order(self, state: dict[str, Any]) -> None:
        """Raises [`InvalidArgumentError`] unless a state is of this order of samples."""
        if state.get("version") != STATE_VERSION:
            raise InvalidArgumentError(
                "The state of the stream was written by another version of farl_hf, which read or counted the samples"
                " in another way; finish the run with that version, or start a new run from its weights with"
                " --model-name-or-path."
            )
        order = {"num_shards": self.num_shards, "seed": self.transform.seed, "window_size": self.window_size}
        for name, value in order.items():
            if state[name] != value:
                raise InvalidArgumentError(
                    f"The state is of a stream with {name} {state[name]}, this one has {value}; resume with the same"
                    " shards, seed and window, or start a new run from the weights."
                )

    @property
    def num_shards(self) -> list[int]:
        """Shards of faces and of other photos."""
        return [len(shards) for shards, _ in self.sources]

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        worker, num_workers = self.worker()
        numbers = self.start.readers.get(str(worker), self.start.first)
        deal = Deal(self.world_size, num_workers, self.batch_size)
        places = source_places(numbers, self.start.num_deals)
        sources = [
            SourceReader(self, *source, [*deals, deal], self.rank * num_workers + worker, place)
            for source, deals, place in zip(self.sources, self.start.deals, places, strict=True)
        ]
        streams, count = [iter(source) for source in sources], numbers[2]
        while True:
            chosen = 0 if math.floor((count + 1) * self.face_ratio) > math.floor(count * self.face_ratio) else 1
            sample = next(streams[chosen], None)
            if sample is None:
                return
            count += 1
            now = [worker, num_workers, count, *(n for source in sources for n in source.state().numbers())]
            yield sample | {STREAM_STATE: torch.tensor(now)}

    def worker(self) -> tuple[int, int]:
        """The number of this loader worker among the readers of its process, and how many there are.

        A loader asks its workers in turn, worker 0 first. After a resume, worker 0 is the reader whose turn it is.
        """
        info = get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        if self.start.num_workers not in (None, num_workers):
            raise InvalidArgumentError(
                f"The stream goes on with {self.start.num_workers} loader workers, but the loader has {num_workers};"
                " pass the number of workers to load_state_dict."
            )
        return (worker + self.start.next_worker) % num_workers, num_workers

    def captions(self, limit: int = 100_000) -> Iterator[str]:
        """The captions of the first samples that have one, without a look at pictures."""
        for shard in [shard for shards, _ in self.sources for shard in shards]:
            with contextlib.closing(OpenShard(shard, None)) as opened:
                for number in range(len(opened)):
                    if limit <= 0:
                        return
                    with contextlib.suppress(SkippedSampleError):
                        yield opened.caption(number)
                        limit -= 1


class SourceReader:
    """The part of one kind of shards that one reader sees, in the order of seed and epoch.

    Args:
        stream ([`PretrainingStream`]): The stream.
        shards (`list[Shard]`): Its shards of this kind.
        face_filter ([`FaceFilter`], *optional*): Which faces are used; without it faces do not matter.
        deals (`list[Deal]`): The stopped deals, then the one in use.
        reader (`int`): This reader's number in the deal in use.
        start ([`SourcePlace`]): Where it begins.
    """

    def __init__(
        self,
        stream: PretrainingStream,
        shards: list[Shard],
        face_filter: FaceFilter | None,
        deals: list[Deal],
        reader: int,
        start: SourcePlace,
    ):
        self.stream, self.shards, self.face_filter = stream, shards, face_filter
        self.deals, self.reader = deals, reader
        self.start = self.place = start.place
        self.window, self.dealt = start.window, start.dealt
        self.skipped = Counter(dict(zip(SKIP_REASONS, start.skipped, strict=True)))
        self.unused = 0  # samples passed in a row of which none could be used

    def state(self) -> SourcePlace:
        """From here the next sample is read; the counts are those since the start of the training."""
        return SourcePlace(self.place, self.window, self.dealt, [self.skipped[reason] for reason in SKIP_REASONS])

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        epoch, first, done = self.place
        while self.stream.num_epochs is None or epoch < self.stream.num_epochs:
            whole_pass, dealt_before = (first, done) == (0, 0), self.dealt[-1]
            yield from self.epoch_samples(epoch, first, done)
            if whole_pass and self.stream.num_epochs is None:
                self.check_usable(self.dealt[-1] - dealt_before)
            epoch, first, done = epoch + 1, 0, 0

    def check_usable(self, num_samples: int) -> None:
        """Raises [`InvalidDatasetError`] when none of many samples in a row can be used.

        Readers may be more than samples, then a pass holds none for some. So a reader gives up only when it has passed
        as many as an epoch has.
        """
        if self.unused >= min(num_samples, MAX_UNUSED):
            raise InvalidDatasetError(
                f"No sample of {len(self.shards)} shards can be used (reader {self.reader}, {self.unused} samples);"
                f" skipped: {counts_in_words(self.skipped)}."
            )

    def epoch_samples(self, epoch: int, first: int, done: int) -> Iterator[dict[str, torch.Tensor]]:
        """The samples of one pass, from a window and a place in it on."""
        order = self.shuffled(np.arange(len(self.shards)), epoch)
        shards = [self.shards[i] for i in order]
        while first < len(shards):
            window = self.open_window(shards, first)
            # What is wrong with a whole shard is counted once: not again after a resume, and by one reader.
            if self.reader == 0 and ((epoch, first) != self.start[:2] or self.start == (0, 0, 0)):
                for opened in window:
                    self.skipped.update(opened.skipped)
            places = self.window_order(window, epoch, first)
            self.window = len(window), len(places)
            own, dealt = self.own_samples(epoch, first, len(places))
            for passed in own[own >= done].tolist():
                shard, number = places[passed]
                self.place = epoch, first, passed + 1
                try:
                    sample = self.stream.transform.sample(window[shard].row(int(number)) | {"epoch": epoch})
                except (SkippedSampleError, UnreadablePhotoError, InvalidFaceInputError) as error:
                    self.skipped[skip_reason(error)] += 1
                    self.unused += 1
                else:
                    self.unused = 0
                    yield sample
            for opened in window:
                opened.close()
            self.dealt = dealt
            first, done = first + len(window), 0

    def shuffled(self, rows: np.ndarray, *purpose: int) -> np.ndarray:
        """The rows in an order that is the same in all readers; as they are if the stream does not shuffle."""
        if not self.stream.window_size:
            return rows
        return np.random.default_rng((self.stream.transform.seed, *purpose)).permutation(rows)

    def open_window(self, shards: list[Shard], first: int) -> list[OpenShard]:
        """Opens the next shards, until they hold enough samples."""
        window: list[OpenShard] = []
        for shard in shards[first:]:
            window.append(OpenShard(shard, self.face_filter))
            if sum(map(len, window)) >= self.stream.window_size:
                break
        return window

    def window_order(self, window: list[OpenShard], epoch: int, first: int) -> np.ndarray:
        """(n, 2): shard of the window and number in it of each sample, in the order in which they are dealt."""
        numbers = [np.stack([np.full(len(shard), i), np.arange(len(shard))], axis=1) for i, shard in enumerate(window)]
        return self.shuffled(np.concatenate(numbers), epoch, first)

    def own_samples(self, epoch: int, first: int, count: int) -> tuple[np.ndarray, list[int]]:
        """The samples of a window of `count` that this reader gets, and what each deal has then given out."""
        passed, dealt = np.arange(count), []
        for deal, before in zip(self.deals[:-1], self.dealt[:-1], strict=True):
            dealt.append(before + len(passed))
            passed = deal.left(epoch, first, passed, before)
        dealt.append(self.dealt[-1] + len(passed))
        return passed[self.deals[-1].readers(self.dealt[-1], len(passed)) == self.reader], dealt


class StreamProgress:
    """How far the batches of one process's [`PretrainingStream`] have come, and what was skipped on the way.

    Pass every batch that the data loader gives; only what was trained on counts, not what workers read ahead.

    Args:
        stream ([`PretrainingStream`]): The stream; a state that it has loaded is where the counting begins.

    Example:
        >>> progress = StreamProgress(stream)  # doctest: +SKIP
        >>> for batch in loader:  # doctest: +SKIP
        ...     progress.take(batch)
        >>> stream.load_state_dict(progress.state_dict(), loader.num_workers)  # doctest: +SKIP
    """

    def __init__(self, stream: PretrainingStream):
        self.stream, self.start = stream, stream.start
        self.readers: dict[str, list[int]] = dict(self.start.readers)
        self.next_worker, self.num_workers = self.start.next_worker, self.start.num_workers or 1

    def take(self, batch: dict[str, torch.Tensor]) -> None:
        """Takes the column `stream_state` out of a batch and remembers it."""
        last = batch.pop(STREAM_STATE)[-1].tolist()  # a batch is of one loader worker
        worker, self.num_workers = last[:2]
        self.readers[str(worker)] = last
        self.next_worker = (worker + 1) % self.num_workers

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for JSON: the readers of this process, and the order that they read."""
        stream = self.stream
        return {
            "version": STATE_VERSION,
            "num_shards": stream.num_shards,
            "seed": stream.transform.seed,
            "window_size": stream.window_size,
            "rank": stream.rank,
            "world_size": stream.world_size,
            "num_workers": self.num_workers,
            "batch_size": stream.batch_size,
            "next_worker": self.next_worker,
            "readers": self.readers,
            "first": self.start.first,
            "deals": [[deal.numbers() for deal in deals] for deals in self.start.deals],
            "skipped": self.start.skipped,
            "num_samples": self.start.num_samples,
        }

    @property
    def skipped(self) -> dict[str, int]:
        """What this process has skipped since the start, by reason; reasons that did not occur are 0."""
        totals = np.array(self.start.skipped)
        for numbers in self.readers.values():
            totals = totals + np.sum([each.skipped for each in source_places(numbers, self.start.num_deals)], axis=0)
        return dict(zip(SKIP_REASONS, totals.tolist(), strict=True))

    @property
    def num_samples(self) -> int:
        """Samples that this process has seen since the start."""
        return self.start.num_samples + sum(numbers[2] for numbers in self.readers.values())

    @property
    def epoch(self) -> float:
        """Passes over the shards of faces, the mean of the readers of this process."""
        passes = [0.0]
        for numbers in self.readers.values():
            (epoch, first, done), (shards, samples), *_ = source_places(numbers, self.start.num_deals)[0]
            passes.append(epoch + (first + shards * done / max(1, samples)) / max(1, self.stream.num_shards[0]))
        return sum(passes) / max(1, len(self.readers))


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
