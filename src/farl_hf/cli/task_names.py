"""The tasks of the command line, and what they are called in file names and help."""

from collections.abc import Sequence

from farl_hf.checkpoints import DEFAULT_CHECKPOINTS
from farl_hf.errors import UnknownNameError

__all__ = ["DETECTION", "TASKS", "parse_tasks"]

TASKS = tuple(DEFAULT_CHECKPOINTS)
DETECTION = "face-detection"


def parse_tasks(words: Sequence[str]) -> tuple[str, ...]:
    """Task names from command-line words, in the order of `TASKS` and each once.

    Args:
        words (`Sequence[str]`): Names with or without `face-`; one word may hold several, separated by commas.

    Raises:
        UnknownNameError: If a name is not a task; the message lists the tasks.
    """
    names = [name.strip() for word in words for name in word.split(",") if name.strip()]
    chosen = {name if name.startswith("face-") else f"face-{name}" for name in names}
    unknown = sorted(chosen - set(TASKS))
    if unknown or not chosen:
        raise UnknownNameError(
            f"There is no task {unknown[0] if unknown else ''!r}. Known tasks: {', '.join(TASKS)} "
            "(the part before the hyphen may be left out)."
        )
    return tuple(task for task in TASKS if task in chosen)
