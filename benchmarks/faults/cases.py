"""What a case is, and the table of all kinds.

A kind is a small function from a [`Draw`] to a [`Case`]: it makes one bad or odd input. The chapters (`photos.py`,
`urls.py` …) hold the kinds of a field each; `@kind` puts them into `KINDS`.
"""

import importlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

Choice = TypeVar("Choice")

CHAPTERS = (
    *("photos", "arrays", "geometry", "urls", "checkpoints", "sources", "commands", "datasets", "laion", "training"),
    *("videos", "names", "answers"),
)
SECONDS = 60  # after which a case hangs


@dataclass(frozen=True)
class Expectation:
    """What may happen to an input.

    Args:
        check (`Callable`, *optional*): What is wrong with an answer; an empty text if it is right. Without it, an
            answer is not judged.
        may_refuse (`bool`): Whether one clear sentence is as good.
    """

    check: Callable[[Any], str] | None
    may_refuse: bool = True


@dataclass
class Case:
    """One input.

    Args:
        what (`str`): The input in a few words.
        run (`Callable`): Hands it to the library and returns the answer.
        expected ([`Expectation`]): What may happen.
        lost (`Callable`, *optional*): Afterwards, what was lost or left half-written; an empty text if nothing was.
    """

    what: str
    run: Callable[[], Any]
    expected: Expectation
    lost: Callable[[], str] = field(default=lambda: "")


@dataclass(frozen=True)
class Draw:
    """Where the variations of a kind come from.

    Args:
        rng (`np.random.Generator`): Seeded by the run's seed, the kind and the number of the variation.
        number (`int`): Of the variation, counted from a seeded offset.
        folder (`Path`): A new folder for the files of the case.
    """

    rng: np.random.Generator
    number: int
    folder: Path

    def each(self, options: Sequence[Choice]) -> Choice:
        """An option; the variations of a kind take one after the other."""
        return options[self.number % len(options)]

    def any(self, options: Sequence[Choice]) -> Choice:
        """An option, by chance."""
        return options[int(self.rng.integers(len(options)))]

    def whole(self, least: int, most: int) -> int:
        """A whole number, both limits included."""
        return int(self.rng.integers(least, most + 1))


@dataclass(frozen=True)
class Kind:
    """A kind of inputs: its field, how its cases are made, how many there are, and their time limit."""

    name: str
    chapter: str
    make: Callable[[Draw], Case]
    count: int
    seconds: float

    def case(self, seed: int, number: int, folder: Path) -> Case:
        """Variation `number` under a seed."""
        name = zlib.crc32(self.name.encode())
        offset = int(np.random.default_rng([seed, name]).integers(1000))
        return self.make(Draw(np.random.default_rng([seed, name, number]), offset + number, folder))


KINDS: dict[str, Kind] = {}


def kind(chapter: str, count: int = 10, seconds: float = SECONDS) -> Callable[[Callable[[Draw], Case]], Any]:
    """Puts a function into `KINDS`, under its own name."""

    def register(make: Callable[[Draw], Case]) -> Callable[[Draw], Case]:
        KINDS[make.__name__] = Kind(make.__name__, chapter, make, count, seconds)
        return make

    return register


def load_all_kinds() -> dict[str, Kind]:
    """All kinds, by name; the chapters are imported."""
    for chapter in CHAPTERS:
        importlib.import_module(f"benchmarks.faults.{chapter}")
    return KINDS
