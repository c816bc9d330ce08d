"""Trainings: arguments, data, runs that go on with other arguments, damaged and vanished checkpoints, full disks."""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.commands import limited_files
from benchmarks.faults.judging import gives, gives_or_refused, half_written, refused

STEPS = {
    "max_steps": 2,
    "save_steps": 1,
    "logging_steps": 1,
    "per_device_train_batch_size": 4,
    "dataloader_num_workers": 0,
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
}


def words_of(settings: dict[str, Any]) -> list[str]:
    """Words of a command line; None leaves an option out, a list has several values."""
    words = []
    for name, value in settings.items():
        if value is not None:
            words += [f"--{name}", *map(str, value if isinstance(value, list) else [value])]
    return words


def fine_tune(task: str, output: Path, **changes: Any) -> Any:
    """Fine-tuning of a toy, as the script does it; the folder it wrote to."""
    from farl_hf.training.arguments import parse_script_arguments
    from farl_hf.training.finetuning import run_face_training

    settings = {
        "config_name": "toy",
        "image_size": 32,
        "dataset_name": materials.rows_folder(),
        "min_face_px": 1,
        "output_dir": output,
        "do_train": True,
    }
    run_face_training(task, *parse_script_arguments(words_of(settings | STEPS | changes), task))
    return output


def pretrain(output: Path, **changes: Any) -> Any:
    """Pre-training of a toy, as the script does it; the folder it wrote to."""
    from farl_hf.training.arguments import ScriptParser
    from farl_hf.training.pretraining import trainer
    from farl_hf.training.pretraining.run import run_pretraining

    flags = materials.test_module("pretraining_runs").make_flags(
        materials.pairs_folder(), output, **{"save_strategy": "steps", "save_steps": 1} | changes
    )
    parser = ScriptParser(
        (trainer.PretrainingModelArguments, trainer.PretrainingDataArguments, trainer.PretrainingArguments)
    )
    run_pretraining(*parser.parse_args_into_dataclasses(flags))
    return output


def finished(output: Any) -> str:
    """What is wrong with the model of a run that ended well."""
    from safetensors.torch import load_file

    path = Path(output) / "model.safetensors"
    if not path.is_file():
        return "no model was saved"
    return (
        ""
        if all(bool(tensor.isfinite().all()) for tensor in load_file(path).values())
        else "weights that are not finite"
    )


TASKS = ("parsing", "landmarks", "attributes")
BAD_ARGUMENTS: list[dict[str, Any]] = [
    {"num_train_epoch": 3},
    {"per_device_train_batch_size": 0},
    {"per_device_train_batch_size": -4},
    {"per_device_train_batch_size": 1},
    {"max_steps": "x"},
    {"max_steps": 1.5},
    {"optim": "nonsense"},
    {"lr_scheduler_type": "nonsense"},
    {"fp16": True},
    {"learning_rate": 1e-3},
    {"head_learning_rate": "nan"},
    {"head_learning_rate": "inf"},
    {"head_learning_rate": -1},
    {"backbone_learning_rate": "x"},
    {"image_size": 0},
    {"image_size": -32},
    {"image_size": 17},
    {"image_size": "x"},
    {"patch_size": 0},
    {"patch_size": 64},
    {"hidden_size": 7},
    {"hidden_size": 0},
    {"num_attention_heads": 0},
    {"num_attention_heads": 5},
    {"num_hidden_layers": -1},
    {"feature_levels": [0, 1, 99, 3]},
    {"feature_levels": [0]},
    {"feature_levels": ["x"]},
    {"head_channels": 0},
    {"head_channels": -1},
    {"output_stride": 0},
    {"output_stride": 3},
    {"warp_factor": 2},
    {"warp_factor": "nan"},
    {"face_scale": 0},
    {"face_scale": "nan"},
    {"box_scale": -1, "alignment": "box"},
    {"pixel_grid": "nonsense"},
    {"attn_implementation": "nonsense"},
    {"config_name": "nonsense"},
    {"config_name": None},
    {"config_name": "/dev/null"},
    {"dataset_name": "nonsense"},
    {"dataset_name": "[bold]x"},
    {"dataset_name": "lapa"},
    {"dataset_config_name": "nonsense"},
    {"do_eval": True, "eval_split": "nonsense"},
    {"max_train_samples": 0},
    {"max_train_samples": -3},
    {"train_data_ratio": 0},
    {"train_data_ratio": 2},
    {"train_data_ratio": "nan"},
    {"train_data_ratio": -1},
    {"alignment": "nonsense"},
    {"augmentation": "nonsense"},
    {"mirror_probability": 2},
    {"mirror_probability": -1},
    {"label_set": "nonsense"},
    {"min_face_px": 5000},
    {"min_face_px": "nan"},
    {"ema_decay": 2},
    {"ema_decay": -1},
    {"ema_decay": "nan"},
    {"milestone_factor": "nan"},
    {"total_train_batch_size": 3},
    {"total_train_batch_size": 0},
    {"total_train_batch_size": -4},
    {"gradient_accumulation_steps": 0},
    {"gradient_accumulation_steps": -1},
    {"label_weights": [1, 2]},
    {"label_weights": ["nan"]},
    {"save_steps": 0},
    {"save_steps": -1},
    {"weight_decay": "nan"},
    {"max_grad_norm": "nan"},
    {"warmup_steps": -5},
    {"model_name_or_path": "nonsense", "config_name": None},
    {"backbone": "nonsense"},
    {"resume_from_checkpoint": "nowhere"},
    {"deepspeed": "nowhere.json"},
    {"fsdp": "full_shard"},
    {"output_dir": "/dev/null/x"},
    {"output_dir": "/proc/x"},
    {"output_dir": "x" * 300},
    {"recipe": "nonsense"},
    {"dataloader_num_workers": -1},
    {"num_train_epochs": 0, "max_steps": -1},
    {"num_train_epochs": -2, "max_steps": -1},
    {"num_train_epochs": "nan", "max_steps": -1},
    {"adam_beta1": 2},
    {"adam_epsilon": -1},
    {"load_best_model_at_end": True},
    {"save_total_limit": 0},
    {"logging_steps": 0},
    {"seed": -1},
    {"seed": 2**80},
]
# Settings with which a training can go on all the same.
HARMLESS = (
    "save_steps",
    "warmup_steps",
    "save_total_limit",
    "logging_steps",
    "seed",
    "max_grad_norm",
    "ema_decay",
    "milestone_factor",
    "adam_beta1",
    "num_train_epochs",
    "label_weights",
    "weight_decay",
    "load_best_model_at_end",
    "backbone",
    "per_device_train_batch_size",
)


@kind("training", count=50, seconds=180)
def bad_argument(draw: Draw) -> Case:
    """Refused, or without harm: the model that comes of it is finite."""
    task, change = draw.any(TASKS), draw.each(BAD_ARGUMENTS)
    output = draw.folder / "out"
    right = gives_or_refused(finished) if set(change) & set(HARMLESS) or task != "parsing" else refused()
    return Case(f"{change} of {task}", lambda: fine_tune(task, output, **change), right, lambda: half_written(output))


@kind("training", count=14, seconds=180)
def good_argument(draw: Draw) -> Case:
    change = draw.each(
        [
            {},
            {"optim": "sgd"},
            {"ema_decay": 0},
            {"gradient_accumulation_steps": 2},
            {"bf16": True},
            {"freeze_backbone": True},
            {"alignment": "whole"},
            {"alignment": "box"},
            {"augmentation": "none"},
            {"mirror_probability": 1.0},
            {"train_data_ratio": 0.5},
            {"lr_scheduler_type": "cosine"},
            {"milestone_epochs": [1]},
            {"ema_warmup": True},
        ]
    )
    task = draw.any(TASKS)
    return Case(f"{change} of {task}", lambda: fine_tune(task, draw.folder / "out", **change), gives(finished))


@kind("training", count=10, seconds=180)
def rates_that_diverge(draw: Draw) -> Case:
    """Nothing of a training that diverges may look like a model."""
    rate = float(draw.each([1e38, 1e30, 1e25, 3e37, 1e36]))
    task, output = draw.any(TASKS), draw.folder / "out"

    def run():
        return fine_tune(task, output, head_learning_rate=rate, backbone_learning_rate=rate, optim="sgd", max_steps=4)

    return Case(f"{rate:g} of {task}", run, gives_or_refused(finished), lambda: not_finite(output))


def not_finite(output: Path) -> str:
    """The first checkpoint below a folder with weights that are not finite."""
    return next((str(path.parent.name) for path in output.rglob("model.safetensors") if finished(path.parent)), "")


@functools.cache
def earlier_run(task: str) -> Path:
    """An unfinished run with a checkpoint after its first step."""
    output = materials.shared_folder() / f"run-{task}"
    if task == "pretraining":
        pretrain(output, max_steps=2)
    else:
        fine_tune(task, output)
    shutil.rmtree(output / "checkpoint-2")
    for file in output.glob("model.safetensors"):
        file.unlink()
    return output


def own_run(draw: Draw, task: str) -> Path:
    """A copy of an unfinished run."""
    return Path(shutil.copytree(earlier_run(task), draw.folder / "out"))


def saved(output: Path) -> dict[str, bytes]:
    """Weights of the checkpoints of a run."""
    return {path.parent.name: path.read_bytes() for path in output.glob("checkpoint-*/model.safetensors")}


def still_there(before: dict[str, bytes], output: Path) -> Callable[[], str]:
    """A judge: the checkpoints of an earlier run are as they were."""
    return lambda: "".join(
        f"{name} has changed" for name, content in before.items() if saved(output).get(name) != content
    )


CHANGES: list[dict[str, Any]] = [
    {"seed": 7},
    {"head_learning_rate": 0.5},
    {"backbone_learning_rate": 0.5},
    {"lr_scheduler_type": "cosine"},
    {"gradient_accumulation_steps": 2},
    {"optim": "sgd"},
    {"image_size": 64},
    {"num_attention_heads": 2},
    {"hidden_size": 64},
    {"num_hidden_layers": 5},
    {"per_device_train_batch_size": 2},
    {"weight_decay": 0.3},
    {"ema_decay": 0.5},
    {"max_train_samples": 4},
    {"mirror_probability": 0.9},
    {"freeze_backbone": True},
    {"head_channels": 8},
    {"face_scale": 0.7},
    {"augmentation": "none"},
    {"dataset_name": "other"},
    {"output_stride": 8},
    {"point_loss_weight": 0.3},
    {"patch_size": 8},
    {"train_data_ratio": 0.5},
    {"warp_factor": 0.5},
]


@kind("training", count=25, seconds=180)
def resumed_with_other_arguments(draw: Draw) -> Case:
    task, change = draw.any(TASKS), dict(draw.each(CHANGES))
    output = own_run(draw, task)
    if "dataset_name" in change:
        change["dataset_name"] = shutil.copytree(materials.rows_folder(), draw.folder / "other")
    return Case(
        f"{change} of {task}", lambda: fine_tune(task, output, **change), refused(), still_there(saved(output), output)
    )


@kind("training", count=16, seconds=180)
def resumed_with_other_arguments_on_demand(draw: Draw) -> Case:
    """With `--allow-changed`, what fits goes on; a model or optimizer that does not fit is one sentence."""
    task, change = draw.any(TASKS), draw.each(CHANGES[:13])
    output = own_run(draw, task)

    def run():
        return fine_tune(task, output, allow_changed=True, **change)

    return Case(f"{change} of {task}", run, gives_or_refused(finished), still_there(saved(output), output))


@kind("training", seconds=180)
def resumed_as_another_task(draw: Draw) -> Case:
    """The output folder of a run of another task, or of pre-training."""
    first, second = draw.each(
        [(one, two) for one in (*TASKS, "pretraining") for two in (*TASKS, "pretraining") if one != two]
    )
    output = own_run(draw, first)
    run = (lambda: pretrain(output)) if second == "pretraining" else (lambda: fine_tune(second, output))
    return Case(f"{second} in the folder of {first}", run, refused(), still_there(saved(output), output))


PRETRAINING_CHANGES: list[dict[str, Any]] = [
    {"seed": 7},
    {"learning_rate": 0.5},
    {"lr_scheduler_type": "linear"},
    {"gradient_accumulation_steps": 2},
    {"optim": "sgd"},
    {"image_size": 64},
    {"mim_weight": 0.3},
    {"per_device_train_batch_size": 8},
    {"weight_decay": 0.9},
    {"max_train_samples": 8},
    {"objective": "itc"},
    {"objective": "simclr"},
    {"face_scale": 0.5},
    {"adam_beta2": 0.5},
    {"ema_decay": 0.5},
    {"augmentation": "none"},
    {"face_template": "attribute"},
    {"mim_num_hidden_layers": 2},
    {"max_text_tokens": 10},
    {"visual_vocab_size": 4},
]


@kind("training", count=20, seconds=180)
def resumed_pretraining_with_other_arguments(draw: Draw) -> Case:
    change, output = draw.each(PRETRAINING_CHANGES), own_run(draw, "pretraining")
    return Case(f"{change}", lambda: pretrain(output, **change), refused(), still_there(saved(output), output))


@kind("training", seconds=180)
def resumed_pretraining_on_demand(draw: Draw) -> Case:
    change, output = draw.each(PRETRAINING_CHANGES), own_run(draw, "pretraining")

    def run():
        return pretrain(output, allow_changed=True, **change)

    return Case(f"{change}", run, gives_or_refused(finished), still_there(saved(output), output))


BAD_PRETRAINING: list[dict[str, Any]] = [
    {"objective": "nonsense"},
    {"face_template": "nonsense"},
    {"tokenizer_name": "nonsense"},
    {"tokenizer_vocab_size": 3},
    {"tokenizer_vocab_size": -1},
    {"max_text_tokens": 0},
    {"max_text_tokens": 1},
    {"max_text_tokens": -4},
    {"image_size": 0},
    {"image_size": 17},
    {"visual_tokenizer": "nonsense"},
    {"visual_vocab_size": 0},
    {"visual_vocab_size": -3},
    {"visual_vocab_size": 10**6},
    {"visual_tokenizer_samples": 0},
    {"visual_tokenizer_samples": 3},
    {"mim_weight": "nan"},
    {"mim_num_hidden_layers": -1},
    {"face_scale": 0},
    {"dataset_name": "nonsense"},
    {"dataset_name": "laion_face"},
    {"dataset_name": "laion_face", "data_dir": "nowhere"},
    {"face_ratio": 2},
    {"gallery_size": 0, "do_eval": True},
    {"learning_rate": "nan"},
    {"learning_rate": -1},
    {"learning_rate": 1e38, "optim": "sgd", "max_grad_norm": 0},
    {"per_device_train_batch_size": 0},
    {"per_device_train_batch_size": 100},
    {"augmentation": "nonsense"},
    {"grad_cache": True},
    {"objective": "simclr", "do_eval": True},
    {"objective": "swav", "num_prototypes": 0},
    {"objective": "simclr", "simclr_temperature": 0},
    {"objective": "swav", "sinkhorn_epsilon": 0},
    {"config_name": "nonsense"},
    {"model_name_or_path": "nonsense"},
    {"fp16": True},
    {"nonsense": 1},
    {"resume_from_checkpoint": "nowhere"},
]


@kind("training", count=40, seconds=180)
def bad_argument_of_pretraining(draw: Draw) -> Case:
    change, output = draw.each(BAD_PRETRAINING), draw.folder / "out"
    harmless = {
        "per_device_train_batch_size",  # more than there are samples: all of them
        "gallery_size",
        "mim_weight",
        "visual_tokenizer_samples",
        "face_ratio",
        "visual_vocab_size",
        "learning_rate",
        "max_text_tokens",
        "mim_num_hidden_layers",
    }
    right = gives_or_refused(finished) if harmless & set(change) else refused()
    return Case(f"{change}", lambda: pretrain(output, **change), right, lambda: not_finite(output))


@kind("training", count=24, seconds=180)
def damaged_checkpoint_of_a_run(draw: Draw) -> Case:
    """The run starts anew or goes on from another checkpoint, or says what is damaged."""
    task = draw.any((*TASKS, "pretraining"))
    output = own_run(draw, task)
    folder = output / "checkpoint-1"
    path, way = draw.each(sorted(folder.rglob("*.*"))), draw.any(["missing", "empty", "cut", "garbage"])
    content = path.read_bytes()
    path.write_bytes(
        {"missing": b"", "empty": b"", "cut": content[: len(content) // 2], "garbage": draw.rng.bytes(300)}[way]
    )
    if way == "missing":
        path.unlink()
    run = (lambda: pretrain(output)) if task == "pretraining" else (lambda: fine_tune(task, output))
    return Case(f"{path.name} {way} of {task}", run, gives_or_refused(finished))


@kind("training", count=12, seconds=180)
def damaged_folder_of_a_run(draw: Draw) -> Case:
    """Files beside the checkpoints."""
    task = draw.any(TASKS)
    output = own_run(draw, task)
    name, content = (
        draw.any(["recipe.yaml", "all_results.json", "trainer_state.json", "results.json", "config.json"]),
        draw.each([b"", b"{", b"null", b"[", b"\xff\xfe", b"3", b"a: [", b"- x"]),
    )
    (output / name).write_bytes(content)
    return Case(f"{name}: {content!r}", lambda: fine_tune(task, output), gives_or_refused(finished))


@kind("training", seconds=180)
def checkpoint_that_vanishes(draw: Draw) -> Case:
    """While a training runs, somebody deletes its checkpoints or its whole folder."""
    from farl_hf.training.trainer import AveragedWeightsTrainer

    task, output = draw.any((*TASKS, "pretraining")), draw.folder / "out"
    whole, step = bool(draw.number % 2), draw.whole(1, 2)
    real = AveragedWeightsTrainer.training_step

    def training_step(self: Any, *arguments: Any, **settings: Any) -> Any:
        if self.state.global_step == step:
            for path in [output] if whole else list(output.glob("checkpoint-*")):
                shutil.rmtree(path, ignore_errors=True)
        return real(self, *arguments, **settings)

    more: dict[str, Any] = {"max_steps": 3, "save_total_limit": draw.any([1, 2, None])}
    if task != "pretraining" and draw.whole(0, 1):
        more |= {"do_eval": True, "eval_strategy": "steps", "eval_steps": 1, "load_best_model_at_end": True}

    def run() -> Any:
        with patch.object(AveragedWeightsTrainer, "training_step", training_step):
            return pretrain(output, **more) if task == "pretraining" else fine_tune(task, output, **more)

    return Case(
        f"{'all' if whole else 'checkpoints'} at step {step} of {task}, {more}", run, gives_or_refused(finished)
    )


@kind("training", seconds=180)
def disk_that_fills_up_in_a_training(draw: Draw) -> Case:
    """Earlier checkpoints stay, and what is half-written does not count as finished."""
    task = draw.any((*TASKS, "pretraining"))
    output = own_run(draw, task)
    room = draw.each([0, 100, 2_000, 20_000, 100_000])

    def run() -> Any:
        with limited_files(room):
            return pretrain(output) if task == "pretraining" else fine_tune(task, output)

    def lost() -> str:
        from farl_hf.training.runs import last_finished_checkpoint

        last = last_finished_checkpoint(output, 0.0)
        return still_there(before, output)() or ("" if last and not finished(last) else f"{last} counts as finished")

    before = saved(output)
    return Case(f"{room} bytes of {task}", run, refused(), lost)


@kind("training", seconds=180)
def file_of_arguments(draw: Draw) -> Case:
    """A JSON file or a recipe in place of options."""
    good = {
        "config_name": "toy",
        "output_dir": str(draw.folder / "out"),
        "dataset_name": [str(materials.rows_folder())],
        "do_train": True,
    }
    contents: list[Any] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff",
        json.dumps(good | {"nonsense": 1}).encode(),
        json.dumps(good | {"max_steps": "x"}).encode(),
        json.dumps(good | {"optim": "x"}).encode(),
        json.dumps(good | {"do_train": "perhaps"}).encode(),
        b"[" * 100_000,
        b"a: [",
        b"task: nonsense\n",
        b"- 1\n- 2\n",
        b"!!python/object/apply:os.system ['touch was_run']\n",
    ]
    content = draw.each(contents)
    path = materials.written(draw.folder / draw.any(["arguments.json", "recipe.yaml"]), content)

    def run() -> Any:
        from farl_hf.training.arguments import parse_script_arguments
        from farl_hf.training.finetuning import run_face_training

        with materials.no_programs() as started:
            words = [str(path)] if path.suffix == ".json" else ["--recipe", str(path)]
            run_face_training("parsing", *parse_script_arguments(words, "parsing"))
            assert not started, started
        return draw.folder / "out"

    return Case(f"{content[:30]!r} as {path.name}", run, refused())
