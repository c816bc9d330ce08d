"""Scripts run by several processes at once, as a launcher would, forked from a server that has imported everything."""

import os
import runpy
import socket
import sys
from unittest.mock import patch

import torch
from torch import multiprocessing


def run_script(script, arguments):
    """A script with a command line, in this process."""
    with patch.object(sys, "argv", [str(script), *map(str, arguments)]):
        runpy.run_path(str(script), run_name="__main__")


def run_process(rank, processes, port, script, arguments):
    """One of several processes that run a script together."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "DS_ACCELERATOR": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    torch.set_num_threads(1)
    run_script(script, arguments)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def run_together(script, arguments, processes=2):
    """A script in several processes, as torchrun starts it; raises what a process raises."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start_forked(run_process, (processes, port, str(script), list(map(str, arguments))), processes)


def start_forked(function, arguments, processes):
    """Runs a function of a test module in several processes; raises what a process raises.

    The server imports nothing of `tests/`: it does not have this process's `sys.path`, and passes over what it does
    not find. It starts once in a run of pytest, so there is one list for all.
    """
    preloaded = ["deepspeed", "farl_hf.training.finetuning", "farl_hf.training.pretraining.run"]
    multiprocessing.get_context("forkserver").set_forkserver_preload(preloaded)
    multiprocessing.start_processes(function, arguments, nprocs=processes, start_method="forkserver")
