"""What each process of tests/training/test_deepspeed_training.py runs: the training of the example script."""

import os

import torch

from farl_hf.training.arguments import parse_script_arguments
from farl_hf.training.finetuning import run_face_training


def run_process(rank, processes, port, flags):
    """One of several processes that train a parser together."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "DS_ACCELERATOR": "cpu"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "HF_HUB_OFFLINE": "1"}
    torch.set_num_threads(1)
    run_face_training("parsing", *parse_script_arguments(flags))
    torch.distributed.destroy_process_group()
