"""The tasks of the command line, and what they are called in file names and help."""

from collections.abc import Sequence

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.errors import UnknownNameError

__all__ = ["DETECTION", "LANDMARKS", "TASKS", "TWO_TOWER_MODEL", "parse_tasks"]

TASKS = tuple(DEFAULT_CHECKPOINTS)
DETECTION = "face-detection"
LANDMARKS = "face-landmarks"
TWO_TOWER_MODEL = "farl-tiny"  # compares faces with texts, unless another is named


def parse_tasks(words: Sequence[str], without: Sequence[str] = ()) -> tuple[str, ...]:
    """Task names from command-line words, in the order of `TASKS` and each once.

    Args:
        words (`Sequence[str]`): Names with or without `face-`; one word may hold several, separated by commas.
        without (`Sequence[str]`): Tasks to leave out, although they are known.

    Raises:
        UnknownNameError: If a name is not a task, or none is left; the message lists the tasks.
    """
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    chosen = {name if name.startswith("face-") else f"face-{name}" for name in names}
    unknown = sorted(chosen - set(TASKS))
    known = ", ".join(task for task in TASKS if task not in without)
    if unknown:
        raise UnknownNameError(f"There is no task {unknown[0]!r}. Known tasks: {known}; 'face-' may be left out.")
    tasks = tuple(task for task in TASKS if task in chosen and task not in without)
    if not tasks:
        raise UnknownNameError(f"No task is left to do; choose from {known}.")
    return tasks
