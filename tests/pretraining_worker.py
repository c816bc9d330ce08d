"""What each process of tests/training/test_pretraining_processes.py runs: one step's loss and gradients, no update."""

import os

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from farl_hf import FaRLConfig, FaRLForPreTraining

PAIRS, PATCHES, VOCABULARY = 16, 16, 20
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = {"vocab_size": 40, "max_position_embeddings": 8, "bos_token_id": 38, "eos_token_id": 39, "pad_token_id": 39}
ZERO_STAGES = (1, 2, 3)


def make_model(logit_scale_init_value=2.6592):
    """The same random weights in every process."""
    torch.manual_seed(0)
    config = FaRLConfig(
        vision_config=SMALL | {"image_size": 32, "patch_size": 8},
        text_config=SMALL | TEXT,
        projection_dim=16,
        mim_vocab_size=VOCABULARY,
        logit_scale_init_value=logit_scale_init_value,
    )
    model = FaRLForPreTraining(config).train()
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # at the initial weights all features are nearly the same
            if parameter.ndim > 1:
                parameter.mul_(4 if "embedding" in name or "projection" in name else 2)
    return model


def make_pairs():
    """All pairs of a step; images differ in how many patches are masked."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 38, (PAIRS, 8), generator=generator)
    ids[:, 0], ids[:, -1] = 38, 39
    shares = torch.linspace(0.2, 0.7, PAIRS)[:, None]
    return {
        "input_ids": ids,
        "pixel_values": torch.randn(PAIRS, 3, 32, 32, generator=generator),
        "bool_masked_pos": torch.rand(PAIRS, PATCHES, generator=generator) < shares,
        "mim_labels": torch.randint(0, VOCABULARY, (PAIRS, PATCHES), generator=generator),
    }


def share_of(pairs, rank, processes):
    """The pairs of one process."""
    size = PAIRS // processes
    return {name: values[rank * size : (rank + 1) * size] for name, values in pairs.items()}


def join_processes(rank, processes, folder):
    """Environment and process group of one process."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous-{processes}", rank=rank, world_size=processes
    )


def run_process(rank, processes, folder):
    """Every way of distributing the step, one after the other; the first process writes what came out."""
    join_processes(rank, processes, folder)
    batch = share_of(make_pairs(), rank, processes)
    results = {
        "ddp": step_in_ddp(make_model(), batch),
        "ddp, checkpointing": step_in_ddp(make_model(), batch, checkpointing=True),
        "ddp, temperature at its bound": step_in_ddp(make_model(logit_scale_init_value=4.7), batch),
    }
    for stage in ZERO_STAGES:
        for checkpointing in (False, True):
            name = f"zero-{stage}" + (", checkpointing" if checkpointing else "")
            results[name] = step_in_zero(stage, make_model(), batch, checkpointing)
    results["unequal batches"] = refusal_of_unequal_batches(batch, rank)
    if rank == 0:
        torch.save(results, folder / f"results-{processes}.pt")
    distributed.barrier()
    distributed.destroy_process_group()


def loss_over_processes(loss):
    """Mean of the processes' losses."""
    total = loss.detach().clone()
    distributed.all_reduce(total)
    return total / distributed.get_world_size()


def step_in_ddp(model, batch, checkpointing=False):
    """Loss and gradients with PyTorch's data parallelism."""
    if checkpointing:
        model.gradient_checkpointing_enable()
    parallel = DistributedDataParallel(model)  # by a name: its reducer must outlive the backward pass
    loss = parallel(**batch).loss
    loss.backward()
    return loss_over_processes(loss), {name: parameter.grad for name, parameter in model.named_parameters()}


def step_in_zero(stage, model, batch, checkpointing=False):
    """Loss and gradients with DeepSpeed, which splits optimizer state, gradients and, in stage 3, parameters."""
    import deepspeed
    from deepspeed.utils import safe_get_full_grad

    if checkpointing:
        model.gradient_checkpointing_enable()
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=torch.optim.AdamW(model.parameters(), lr=1e-3),
        config={
            "train_micro_batch_size_per_gpu": len(batch["input_ids"]),
            # A threshold of 0, because ZeRO-3 leaves small parameters whole, and here all are small.
            "zero_optimization": {"stage": stage, "stage3_param_persistence_threshold": 0},
            "zero_allow_untested_optimizer": True,
        },
    )
    loss = engine(**batch).loss
    engine.backward(loss)
    gradients = {name: safe_get_full_grad(parameter).clone() for name, parameter in model.named_parameters()}
    loss = loss_over_processes(loss)
    engine.destroy()
    return loss, gradients


def refusal_of_unequal_batches(batch, rank):
    """The error of the contrastive loss when one process has a pair less."""
    model = make_model()
    fewer = {name: values[1:] if rank == 1 else values for name, values in batch.items()}
    try:
        model(**fewer)
    except ValueError as error:
        return str(error)
    return "none"
