"""The fenced blocks of the documents, the commands in them, and why some cannot run here.

    python tests/documents/document_blocks.py

prints how many run, and how many do not, by reason. A block or command that cannot run carries one of `REASONS` in a
comment: in a Python block anywhere; in a shell block at the end of its command, or in a comment line above, which
holds up to the next comment line or empty line.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "examples/**/*.md", "src/farl_hf/**/*.md")
    for path in ROOT.glob(pattern)
)
REASONS = (
    "needs a download",
    "needs GPUs",
    "needs several machines",
    "needs an account",
    "needs code of others",
    "changes the environment",
    "runs all tests",
    "runs until it is stopped",
)
LANGUAGES = ("python", "bash", "text")  # text is pictures of folders and data, which nobody runs
# What the tests may start. Whatever else a document names must carry a reason, so that no test installs, uploads or
# packs anything.
STARTED = re.compile(
    r"(?:OMP_NUM_THREADS=\d )?(?:farl-hf|python examples/|python -m benchmarks\.|torchrun|accelerate|deepspeed) ?"
)
CHANGING = re.compile(r"farl-hf (?:autoload|download|push)|--pack|packing|pip|&|;|\||>")
INLINE = re.compile(r"`((?:farl-hf|python|make) [^`]+)`")
_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


class Block(NamedTuple):
    """A fenced block."""

    place: str  # document:line
    language: str
    text: str

    @property
    def reason(self):
        """Why a Python block cannot run here, or None."""
        return _reason_in(self.text)


class Command(NamedTuple):
    """A command of a shell block, on one line."""

    text: str
    reason: str | None

    @property
    def may_start(self):
        """Whether the tests may run it: it changes nothing but the folder that it runs in."""
        changing = CHANGING.search(re.sub(r'"[^"]*"', "", self.text))
        from_file = re.search(r"farl-hf (?:download .* --from|push .* --dry-run)", self.text)
        return bool(STARTED.match(self.text)) and (not changing or bool(from_file))


def find_blocks():
    """Every fenced block of every document."""
    for path in DOCUMENTS:
        document = path.read_text()
        for match in _FENCE.finditer(document):
            line = document.count("\n", 0, match.start()) + 1
            yield Block(f"{path.relative_to(ROOT)}:{line}", match[1], match[2])


def find_unstarted_commands():
    """(document, command) of the commands in running text, and of those in blocks that carry a reason."""
    for path in DOCUMENTS:
        prose = _FENCE.sub("", path.read_text())
        yield from ((str(path.relative_to(ROOT)), " ".join(match[1].split())) for match in INLINE.finditer(prose))
    for block in find_blocks():
        if block.language == "bash":
            yield from ((block.place, command.text) for command in commands_of(block) if command.reason)


def commands_of(block):
    """The commands of a shell block, continued lines joined."""
    commands, above = [], None
    for line in block.text.replace("\\\n", " ").splitlines():
        line = " ".join(line.split())
        if not line or line.startswith("#"):
            above = _reason_in(line)
        else:
            command, _, comment = line.partition(" # ")
            commands.append(Command(command, _reason_in(comment) or above))
    return commands


def _reason_in(text):
    return next((reason for reason in REASONS if reason in text), None)


def count_blocks():
    """Counter of (kind, reason or 'runs')."""
    counts = Counter()
    for block in find_blocks():
        if block.language == "bash":
            counts.update(("command", command.reason or "runs") for command in commands_of(block))
        else:
            counts["text" if block.language == "text" else "block", block.reason or "runs"] += 1
    return counts


def table():
    """How many blocks and commands run, and how many do not, by reason."""
    counts = count_blocks()
    lines = [f"{'':28}{'Python blocks':>14}{'commands':>10}"]
    lines += [f"{name:28}{counts['block', name]:14}{counts['command', name]:10}" for name in ("runs", *REASONS)]
    return "\n".join([*lines, f"{'blocks of text':28}{counts['text', 'runs']:14}"])


if __name__ == "__main__":
    print(table())  # noqa: T201
