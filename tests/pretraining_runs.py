"""Pre-training as the script does it, at toy size."""

import json
from pathlib import Path

import datasets
from face_rows import make_face_row
from safetensors.torch import load_file
from transformers import HfArgumentParser

from farl_hf.training.pretraining.run import run_pretraining
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)

WORDS = ("red", "green", "blue", "smiling", "old", "young", "tall", "short", "bald", "happy", "sad", "curly")


def write_pairs(folder):
    """Sixteen photos whose captions differ, four to evaluate on."""

    def rows(first, count):
        numbers = range(first, first + count)
        photos = [make_face_row(i) | {"caption": f"a {WORDS[i % 12]} {WORDS[i * 5 % 12]} face"} for i in numbers]
        return datasets.Dataset.from_list(photos).cast_column("image", datasets.Image())

    datasets.DatasetDict(train=rows(0, 16), validation=rows(100, 4)).save_to_disk(str(folder))
    return folder


def make_flags(faces, output_dir, **changes):
    """The script's arguments: small settings that `changes` replace; None leaves one out."""
    settings = {
        "config_name": "toy", "dataset_name": faces, "tokenizer_name": "captions", "tokenizer_vocab_size": 560,
        "max_text_tokens": 12, "visual_tokenizer": "kmeans", "visual_vocab_size": 8, "visual_tokenizer_samples": 8,
        "image_size": 32, "face_template": "lapa", "output_dir": output_dir, "do_train": True, "max_steps": 2,
        "per_device_train_batch_size": 4, "dataloader_num_workers": 0, "logging_steps": 1, "warmup_steps": 0,
        "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
    } | changes  # fmt: skip
    return [str(part) for name, value in settings.items() if value is not None for part in (f"--{name}", value)]


def pretrain(faces, output_dir, **changes):
    """Runs it in this process; `changes` as of `make_flags`."""
    parser = HfArgumentParser((PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments))
    return run_pretraining(*parser.parse_args_into_dataclasses(make_flags(faces, output_dir, **changes)))


def weights_of(folder):
    return load_file(Path(folder) / "model.safetensors")


def log_of(folder):
    return json.loads((Path(folder) / "trainer_state.json").read_text())["log_history"]
