"""Pre-trainings of a study: one backbone per row, trained once and kept."""

import hashlib
import json
from pathlib import Path
from typing import Any

import datasets
from shape_pictures import COLUMNS, shape_pictures
from study_runs import output_kept_in
from study_script import backbone_overrides

from farl_hf.data.loading import load_face_dataset
from farl_hf.training.arguments import ScriptParser, as_flags
from farl_hf.training.pretraining.run import run_pretraining
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)
from farl_hf.whole_files import write_json

PARSER = ScriptParser((PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments))
FINISHED_NAME = "finished.json"  # written last

# A laptop: rendered faces, an encoder of 1 million parameters. Every number is ours.
TINY_PRETRAINING = {
    "config_name": "tiny",
    "dataset_name": "synthetic_faces",
    "preprocessing_num_workers": 2,
    "max_train_samples": 4000,
    "max_eval_samples": 300,
    "tokenizer_name": "captions",
    "max_text_tokens": 32,
    "visual_tokenizer": "kmeans",
    "visual_vocab_size": 256,
    "image_size": 64,
    "num_prototypes": 100,
    "sinkhorn_epsilon": 0.02,
    "per_device_train_batch_size": 64,
    "max_steps": 150,
    "dataloader_num_workers": 1,
    "save_strategy": "no",
    "logging_steps": 25,
    "report_to": "none",
}


def probe_overrides(folder: str, pretraining: dict[str, Any]) -> dict[str, Any]:
    """Training arguments of a head on a pretrained encoder, at the size of its pre-training."""
    return backbone_overrides(folder, pretraining["config_name"]) | {"image_size": pretraining["image_size"]}


def mixed_pairs(pretraining: dict[str, Any], face_ratio: float, output_dir: str | Path) -> str:
    """The folder of a data set of pairs, of which only a share shows a face; made once.

    Args:
        pretraining (`dict[str, Any]`): Arguments of the pre-training: which faces, and how many pairs.
        face_ratio (`float`): Share of pairs with a face, in [0, 1].
        output_dir (`str`): The study's folder.
    """
    # As many of each split as the trainings of heads use, which then find them rendered.
    limits = {"train": pretraining["max_train_samples"], "validation": pretraining["max_eval_samples"], "test": 0}
    num_proc = pretraining["preprocessing_num_workers"]
    faces = load_face_dataset(pretraining["dataset_name"], num_photos=limits, num_proc=num_proc)["train"]
    folder = (
        Path(output_dir) / "pairs" / f"{face_ratio:g}-of-{len(faces)}-{digest([pretraining['dataset_name'], limits])}"
    )
    if not folder.is_dir():
        num_faces = round(face_ratio * len(faces))
        parts = [faces.select(range(num_faces)).select_columns(list(COLUMNS))] if num_faces else []
        parts += [shape_pictures(len(faces) - num_faces)] if num_faces < len(faces) else []
        unfinished = folder.with_name(f".{folder.name}")
        datasets.DatasetDict(train=datasets.concatenate_datasets(parts)).save_to_disk(str(unfinished))
        unfinished.rename(folder)
    return str(folder)


def digest(arguments: Any) -> str:
    """Eight characters that tell arguments apart."""
    return hashlib.sha256(json.dumps(arguments, sort_keys=True).encode()).hexdigest()[:8]


def pretrained_backbone(name: str, arguments: dict[str, Any], output_dir: str | Path) -> str:
    """The checkpoint folder of a pre-training, which is done now unless it was finished before.

    Args:
        name (`str`): First part of the folder's name.
        arguments (`dict[str, Any]`): Arguments of `examples/pretrain_farl.py`; with others it is done anew.
        output_dir (`str`): The study's folder.
    """
    folder = Path(output_dir) / "pretrained" / f"{name}-{digest(arguments)}"
    if not (folder / FINISHED_NAME).is_file():
        known = [action.dest for action in PARSER._actions]
        flags = as_flags(arguments | {"output_dir": str(folder), "do_train": True}, known)
        model_args, data_args, training_args = PARSER.parse_args_into_dataclasses(flags)
        with output_kept_in(folder / "output.txt", training_args.should_save):
            run_pretraining(model_args, data_args, training_args)
        if training_args.should_save:
            write_json(folder / FINISHED_NAME, arguments)
    return str(folder)
