"""The end of training on several processes."""

import atexit

from torch import distributed

__all__ = ["leave_group_at_exit"]


def leave_group_at_exit() -> None:
    """Leaves the process group when the interpreter ends.

    Otherwise gloo's threads are still there when the process takes them down: about one in ten then aborts, with
    "terminate called without an active exception", after all its work is done.
    """
    atexit.register(leave_group)


def leave_group() -> None:
    """Leaves the process group, if there is one."""
    if distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()
