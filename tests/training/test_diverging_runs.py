"""A training that cannot give a model stops with a sentence, before anything is saved."""

import json
import re
import resource
from unittest import mock

import pytest
import torch
from face_rows import make_face_dataset
from safetensors.torch import load_file
from test_trainer import make_trainer
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import Trainer

from farl_hf.data.samples.face_samples import FaceSamples
from farl_hf.errors import (
    DivergedTrainingError,
    FileWriteError,
    InvalidArgumentError,
    InvalidDatasetError,
    InvalidFaceInputError,
    NotACheckpointError,
)
from farl_hf.processing.image_processing_farl import FaRLImageProcessor
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.finetuning import names_of_labelled_attributes
from farl_hf.training.runs import check_same_run, train_to_end
from farl_hf.training.trainer import writing_to
from farl_hf.whole_files import finite_or_none, write_json


class Rows(list):
    """Rows with the names of their columns, as a `datasets.Dataset` has them."""

    def __getitem__(self, item):
        return [row[item] for row in self] if isinstance(item, str) else super().__getitem__(item)

    @property
    def column_names(self):
        return list(self[0]) if self else []


@pytest.fixture(scope="module")
def photos():
    return make_face_dataset(8)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(value, photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, save_steps=1)
    make_sample = trainer.train_dataset.__class__.__getitem__

    class Poisoned(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, item):
            sample = make_sample(photo_samples, item)
            return sample | {"pixel_values": torch.full_like(sample["pixel_values"], value)} if item == 3 else sample

    photo_samples = trainer.train_dataset
    trainer.train_dataset = Poisoned()
    with pytest.raises(DivergedTrainingError, match=r"at step [12];"):
        train_to_end(trainer)
    assert not (tmp_path / "model.safetensors").exists()
    assert not (tmp_path / "checkpoint-2").exists()


def test_the_step_that_diverged_is_found_late_and_named(photos, toy_config, tmp_path):
    """Losses are read when something is logged or saved: reading them at every step would make a GPU wait."""
    trainer = make_trainer(photos, toy_config, tmp_path, evaluation=None, logging_steps=50, save_steps=50, max_steps=6)
    steps, compute_loss = [], trainer.compute_loss

    def loss_of_step(*args, **kwargs):
        steps.append(trainer.state.global_step + 1)
        return compute_loss(*args, **kwargs) * (float("inf") if steps[-1] == 3 else 1)

    trainer.compute_loss = loss_of_step
    with pytest.raises(DivergedTrainingError, match=r"loss is inf at step 3;"):
        train_to_end(trainer)
    assert steps[-1] == 6
    assert not list(tmp_path.rglob("*.safetensors"))


class ReadNumbers(TorchDispatchMode):
    """Counts the tensors that are read as Python numbers, for which the host waits."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


def test_a_step_reads_no_loss(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, evaluation=None, logging_steps=50, save_strategy="no")
    losses = []
    monitored = trainer.training_step

    def training_step(*args, **kwargs):
        with ReadNumbers() as reads:
            losses.append((monitored(*args, **kwargs), reads.count))
        return losses[-1][0]

    trainer.training_step = training_step
    with mock.patch.object(Trainer, "training_step", return_value=torch.ones(())):
        trainer.train()
    assert len(losses) == 4
    assert [count for _, count in losses] == [0] * 4
    assert trainer.args.logging_nan_inf_filter is False  # Transformers' filter reads every loss
    with ReadNumbers() as reads:
        bool(torch.ones(()).isfinite())
    assert reads.count


def test_rates_that_break_the_weights_stop(photos, toy_config, tmp_path):
    trainer = make_trainer(
        photos, toy_config, tmp_path, head_learning_rate=1e38, backbone_learning_rate=1e38, optim="sgd", save_steps=1
    )
    with pytest.raises(DivergedTrainingError, match=r"not finite|loss is"):
        train_to_end(trainer)
    for file in tmp_path.rglob("model.safetensors"):
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())
    assert not (tmp_path / "model.safetensors").exists()


def test_weights_that_are_not_finite_are_not_saved(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path)
    next(iter(trainer.model.parameters())).data.fill_(float("nan"))
    with pytest.raises(DivergedTrainingError, match="not finite"):
        trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / "model.safetensors").exists()


def test_a_batch_of_one_is_named(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, per_device_train_batch_size=1)
    with pytest.raises(InvalidArgumentError, match="dataloader-drop-last"):
        trainer.train()


def test_unknown_keywords_of_gradient_checkpointing_are_named(photos, toy_config, tmp_path):
    settings = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"nonsense": 1}}
    trainer = make_trainer(photos, toy_config, tmp_path, **settings)
    with pytest.raises(InvalidArgumentError, match=r"gradient-checkpointing-kwargs.*nonsense"):
        trainer.train()


def test_json_has_no_nan(tmp_path):
    scores = {"a": float("nan"), "b": [1.0, float("-inf")], "c": {"d": 2}}
    assert finite_or_none(scores) == {"a": None, "b": [1.0, None], "c": {"d": 2}}
    write_json(tmp_path / "scores.json", scores)
    assert "NaN" not in (tmp_path / "scores.json").read_text()
    assert json.loads((tmp_path / "scores.json").read_text())["c"] == {"d": 2}


def test_a_rate_that_nothing_uses_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="--backbone-learning-rate"):
        FaRLTrainingArguments(output_dir=str(tmp_path), learning_rate=1e-3)


@pytest.mark.parametrize(
    "rows",
    [
        Rows([{"image": 0}]),
        Rows(),
        Rows([{"attributes": []}]),
        Rows([{"attributes": [[1, 0]]}]),
        Rows([{"attributes": [[-100] * 40]}]),
    ],
)
def test_attributes_that_teach_nothing(rows):
    with pytest.raises(InvalidArgumentError):
        names_of_labelled_attributes(rows)


@pytest.mark.parametrize(
    ("task", "annotations", "error", "fact"),
    [
        ("attributes", {"attributes": [[7] * 40]}, InvalidFaceInputError, "attribute 7"),
        ("attributes", {"attributes": [[-1] * 40]}, InvalidFaceInputError, "attribute -1"),
        ("attributes", {"attributes": [[-100] * 40]}, InvalidDatasetError, "None of the 1 photos"),
        ("landmarks", {"landmarks_xy": [[[float("nan")] * 2] * 68]}, InvalidDatasetError, "None of the 1 photos"),
        ("parsing", {}, InvalidDatasetError, "label_map"),
    ],
)
def test_labels_that_no_face_can_have(task, annotations, error, fact):
    rows = Rows([{"image": None, "boxes_xyxy": [[0, 0, 60, 60]]} | annotations])
    with pytest.raises(error, match=fact):
        FaceSamples(rows, FaRLImageProcessor(size=32), task, alignment="whole")


def test_an_ignored_label_map_names_its_row():
    from farl_hf.data.samples.face_samples import check_label_map

    with pytest.raises(InvalidFaceInputError, match="row 5"):
        check_label_map(torch.full((4, 4), 255, dtype=torch.uint8), (4, 4), 11, "row 5")


def test_a_resumed_run_keeps_its_arguments(tmp_path):
    from farl_hf.training.arguments import save_resolved_recipe

    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    torch.save({}, checkpoint / "rng_state.pth")

    def arguments(**changes):
        return FaRLTrainingArguments(output_dir=str(tmp_path), ema_decay=0.0, **changes)

    save_resolved_recipe(tmp_path, "parsing", arguments())
    check_same_run(arguments(logging_steps=7, num_train_epochs=5), arguments(logging_steps=7, num_train_epochs=5))
    for changes in (
        *({"seed": 7}, {"head_learning_rate": 0.5}, {"lr_scheduler_type": "cosine"}, {"adam_epsilon": 1e-6}),
        *({"lr_scheduler_kwargs": {"min_lr": 1e-7}}, {"optim_args": "amsgrad=True"}, {"sync_batch_norm": True}),
        *({"bf16": True}, {"dataloader_drop_last": True}, {"train_sampling_strategy": "sequential"}),
    ):
        changed = arguments(**changes)
        with pytest.raises(InvalidArgumentError, match=rf"{next(iter(changes))}: .* -> .*--allow-changed"):
            check_same_run(changed, changed)
        changed.allow_changed = True
        check_same_run(changed, changed)
    torch.save({}, checkpoint / "rng_state_1.pth")
    with pytest.raises(InvalidArgumentError, match="number of processes: 2 -> 1"):
        check_same_run(arguments(), arguments())


def test_a_pretraining_of_an_earlier_version_goes_on(tmp_path):
    """Its recipe names the crop that it had without being asked."""
    from farl_hf.training.arguments import save_resolved_recipe
    from farl_hf.training.pretraining.trainer import PretrainingArguments, PretrainingModelArguments

    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    torch.save({}, checkpoint / "rng_state.pth")
    training = PretrainingArguments(output_dir=str(tmp_path))
    former = PretrainingModelArguments(face_template="attribute", face_scale=1.0)
    save_resolved_recipe(tmp_path, "pretraining", former, training)
    check_same_run(training, PretrainingModelArguments(), training, task="pretraining")
    with pytest.raises(InvalidArgumentError, match=r"face_scale: 1\.0 -> 1\.3"):
        check_same_run(training, PretrainingModelArguments(face_scale=1.3), training, task="pretraining")


def test_the_schedule_and_the_scores_of_a_run_are_kept(tmp_path):
    """Values of dictionaries too, and those of the model; the recipe that is left starts the same run."""
    from farl_hf.training.arguments import ModelArguments, parse_recipe_arguments, save_resolved_recipe

    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    torch.save({}, checkpoint / "rng_state.pth")

    def groups(score_size=None, **kwargs):
        schedule = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": kwargs}
        return FaRLTrainingArguments(output_dir=str(tmp_path), ema_decay=0.0, **schedule), ModelArguments(
            score_size=score_size
        )

    path = save_resolved_recipe(tmp_path, "parsing", *groups(min_lr=1e-7))
    again = parse_recipe_arguments(str(path))[3]
    assert again.lr_scheduler_kwargs == {"min_lr": 1e-7}
    check_same_run(again, again)
    for changed, fact in (
        (groups(min_lr=1e-6), r"lr_scheduler_kwargs: \{'min_lr': 1e-07\} -> \{'min_lr': 1e-06\}"),
        (groups(), "lr_scheduler_kwargs: .* -> None"),
        (groups(min_lr=1e-7, score_size=512), "score_size: None -> 512"),
    ):
        with pytest.raises(InvalidArgumentError, match=fact):
            check_same_run(changed[0], *changed)


def test_a_folder_holds_runs_of_one_task(tmp_path):
    from farl_hf.training.arguments import save_resolved_recipe

    checkpoint = tmp_path / "checkpoint-4"
    checkpoint.mkdir()
    (checkpoint / "trainer_state.json").write_text("{}")
    torch.save({}, checkpoint / "rng_state.pth")
    arguments = FaRLTrainingArguments(output_dir=str(tmp_path), ema_decay=0.0)
    save_resolved_recipe(tmp_path, "parsing", arguments)
    check_same_run(arguments, arguments, task="parsing")
    with pytest.raises(InvalidArgumentError, match="run of parsing, and this one is of landmarks"):
        check_same_run(arguments, arguments, task="landmarks")


@pytest.mark.parametrize("file", ["model.safetensors", "optimizer.pt", "scheduler.pt", "training_weights.safetensors"])
def test_a_damaged_checkpoint_is_one_sentence(file, photos, toy_config, tmp_path):
    train_to_end(make_trainer(photos, toy_config, tmp_path, max_steps=1, save_steps=1))
    path = tmp_path / "checkpoint-1" / file
    assert path.is_file()
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(NotACheckpointError, match="checkpoint-1"):
        train_to_end(make_trainer(photos, toy_config, tmp_path, max_steps=2))


def test_a_run_cannot_go_on_with_another_head(photos, toy_config, tmp_path):
    train_to_end(make_trainer(photos, toy_config, tmp_path, max_steps=1, save_steps=1))
    trainer = make_trainer(photos, lambda **settings: toy_config(head_channels=8, **settings), tmp_path, max_steps=2)
    with pytest.raises(NotACheckpointError, match=r"^[^\n]*checkpoint-1[^\n]*another model") as caught:
        train_to_end(trainer)
    assert len(str(caught.value)) < 900


def test_a_disk_that_is_full_is_one_sentence(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, max_steps=1, save_steps=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(FileWriteError, match="could not be written"):
            train_to_end(trainer)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_pytorchs_writer_says_of_a_full_disk_is_told_from_other_errors(tmp_path):
    for words in (
        "[enforce fail at inline_container.cc:820] . unexpected pos 0 vs 1",
        "basic_ios::clear: iostream error",
    ):
        with pytest.raises(FileWriteError, match=re.escape(words)), writing_to(tmp_path):
            raise RuntimeError(words)
    with pytest.raises(RuntimeError, match="of another kind"), writing_to(tmp_path):
        raise RuntimeError("of another kind")
