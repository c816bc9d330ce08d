import shutil
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from face_rows import make_face_dataset
from safetensors.torch import load_file

from farl_hf import FaRLForFaceParsing, FaRLImageProcessor
from farl_hf.data.samples.face_samples import FaceSamples
from farl_hf.errors import InvalidArgumentError
from farl_hf.labels import LAPA_LABELS
from farl_hf.training.arguments import FaRLTrainingArguments
from farl_hf.training.ema import TRAINING_WEIGHTS_NAME
from farl_hf.training.evaluation.photo_frame import make_evaluation
from farl_hf.training.runs import is_finished
from farl_hf.training.trainer import FaRLTrainer, with_shared_batch_norms


@pytest.fixture(scope="module")
def photos():
    return make_face_dataset(8)


def make_trainer(photos, toy_config, output_dir, evaluation="parsing", **arguments):
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    torch.manual_seed(0)
    model = FaRLForFaceParsing(toy_config(num_labels=11))
    settings = {
        "max_steps": 4,
        "save_steps": 2,
        "logging_steps": 1,
        "per_device_train_batch_size": 4,
        "ema_decay": 0.5,
        "dataloader_num_workers": 0,
        "disable_tqdm": True,
    }
    return FaRLTrainer(
        model=model,
        args=FaRLTrainingArguments(output_dir=str(output_dir), **(settings | arguments)),
        evaluation=evaluation and make_evaluation(evaluation, processor, LAPA_LABELS),
        train_dataset=FaceSamples(photos, processor, "parsing", "synthetic_parsing", min_face_px=1),
        eval_dataset=FaceSamples(photos, processor, "parsing", min_face_px=1, with_photo_labels=True),
        processing_class=processor,
    )


def state_of(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(first[name], second[name], atol=0, rtol=0, msg=name)


def test_learning_rates_and_decay_per_part(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, pyramid_learning_rate=5e-3)
    rates = {group["name"]: (group["lr"], group["weight_decay"]) for group in trainer.create_optimizer().param_groups}
    assert rates == {"backbone": (1e-4, 1e-5), "pyramid": (5e-3, 1e-5), "head": (1e-3, 1e-5)}


def test_the_optimizer_is_the_one_that_optim_names(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, optim="sgd")
    optimizer = trainer.create_optimizer()
    assert type(optimizer) is torch.optim.SGD
    assert trainer.create_optimizer() is optimizer


def test_milestones_multiply_every_rate(photos, toy_config, tmp_path):
    trainer = make_trainer(
        photos, toy_config, tmp_path, max_steps=-1, num_train_epochs=4, milestone_epochs=[2.0], save_strategy="no"
    )
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    np.testing.assert_allclose(rates, [1e-4] * 4 + [1e-5] * 4)


def test_milestones_are_epochs_also_where_steps_are_limited(photos, toy_config, tmp_path):
    """An epoch of eight photos has three steps here."""
    settings = {"num_train_epochs": 9, "milestone_epochs": [1.0], "per_device_train_batch_size": 3}
    trainer = make_trainer(photos, toy_config, tmp_path, max_steps=5, save_strategy="no", **settings)
    trainer.train()
    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "learning_rate" in entry]
    np.testing.assert_allclose(rates, [1e-4] * 3 + [1e-5] * 2)


def test_older_checkpoints_go_only_when_the_new_one_is_whole(photos, toy_config, tmp_path, monkeypatch):
    left = []
    monkeypatch.setattr(
        "transformers.trainer.rotate_checkpoints",
        lambda output_dir, **_: left.append(is_finished(sorted(Path(output_dir).glob("checkpoint-*"))[-1], 0.5)),
    )
    make_trainer(photos, toy_config, tmp_path, max_steps=2).train()
    assert left == [True]


def test_scores_tell_their_epoch(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, max_steps=2, save_strategy="no")
    assert trainer.train().metrics["epoch"] == 1.0
    assert trainer.evaluate()["epoch"] == 1.0


def test_a_frozen_backbone_stays(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, freeze_backbone=True, save_strategy="no")
    before = state_of(trainer.model)
    trainer.train()
    changed = {name.split(".")[0] for name, value in state_of(trainer.model).items() if not value.equal(before[name])}
    assert changed == {"pyramid", "head"}


def test_saved_weights_are_the_average_and_evaluation_uses_it(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path)
    trainer.train()
    raw = state_of(trainer.model)
    scores = trainer.evaluate()
    assert_same(raw, state_of(trainer.model))
    trainer.save_model(str(tmp_path / "final"))
    averaged = FaRLForFaceParsing.from_pretrained(tmp_path / "final")
    assert any(not raw[name].equal(value) for name, value in state_of(averaged).items())
    assert_same(trainer.ema.average.averages, {n: t for n, t in state_of(averaged).items() if t.is_floating_point()})
    assert FaRLImageProcessor.from_pretrained(tmp_path / "final").size_hw == (32, 32)
    assert not (tmp_path / "final" / TRAINING_WEIGHTS_NAME).exists()
    trainer.ema = None
    trainer.model.load_state_dict(averaged.state_dict())
    assert trainer.evaluate()["eval_f1_mean"] == scores["eval_f1_mean"]


def test_resuming_is_exact(photos, toy_config, tmp_path):
    whole = make_trainer(photos, toy_config, tmp_path / "whole")
    whole.train()
    shutil.copytree(tmp_path / "whole" / "checkpoint-2", tmp_path / "resumed" / "checkpoint-2")
    resumed = make_trainer(photos, toy_config, tmp_path / "resumed")
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 4
    assert_same(state_of(whole.model), state_of(resumed.model))
    assert_same(whole.ema.average.averages, resumed.ema.average.averages)
    assert resumed.ema.average.num_updates == 4


def test_checkpoint_folders_hold_average_weights_processor_and_training_weights(photos, toy_config, tmp_path):
    make_trainer(photos, toy_config, tmp_path, max_steps=2).train()
    folder = Path(tmp_path, "checkpoint-2")
    assert {"config.json", "preprocessor_config.json"} <= {file.name for file in folder.iterdir()}
    averaged, stored = load_file(folder / "model.safetensors"), load_file(folder / TRAINING_WEIGHTS_NAME)
    name = "head.classifier.weight"
    assert stored[f"average.{name}"].equal(averaged[name])
    assert not stored[f"raw.{name}"].equal(averaged[name])


def test_best_checkpoint_is_what_is_kept_and_saved(photos, toy_config, tmp_path):
    trainer = make_trainer(
        photos,
        toy_config,
        tmp_path,
        eval_strategy="steps",
        eval_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="f1_mean",
        greater_is_better=True,
    )
    trainer.train()
    best = load_file(Path(trainer.state.best_model_checkpoint, "model.safetensors"))
    trainer.save_model(str(tmp_path / "final"))
    assert_same(best, load_file(tmp_path / "final" / "model.safetensors"))


def test_batch_norms_are_shared_by_several_processes_only(photos, toy_config, tmp_path):
    def batch_norms(model):
        return {
            type(module) for module in model.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        }

    trainer = make_trainer(photos, toy_config, tmp_path, sync_batch_norm=True)
    assert batch_norms(trainer.model) == {torch.nn.BatchNorm2d}
    names = trainer.model.state_dict().keys()
    accelerator = types.SimpleNamespace(device=torch.device("cuda"))
    shared = with_shared_batch_norms(trainer.model, accelerator)
    assert batch_norms(shared) == {torch.nn.SyncBatchNorm}
    assert shared.state_dict().keys() == names
    with pytest.raises(InvalidArgumentError, match="accelerators only"):
        with_shared_batch_norms(trainer.model, trainer.args)


def test_evaluation_scores_all_faces_when_the_training_drops_its_last_batch(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, dataloader_drop_last=True, per_device_eval_batch_size=5)
    assert len(trainer.predict(trainer.eval_dataset).predictions) == len(photos)
    assert sum(len(batch["labels"]) for batch in trainer.get_eval_dataloader()) == len(photos)
    assert trainer.args.dataloader_drop_last


def test_scores_are_those_of_all_rows_although_they_are_merged_as_they_come(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, per_device_eval_batch_size=3)
    rows = trainer.predict(trainer.eval_dataset).predictions
    for _ in range(2):  # a second evaluation begins anew
        scores = trainer.evaluate()
        expected = trainer.evaluation.scores(rows)
        assert {name: scores[f"eval_{name}"] for name in expected} == expected
        np.testing.assert_array_equal(trainer.running_statistics.face_scores(), trainer.evaluation.face_scores(rows))


def test_without_evaluation_it_reports_the_loss(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, evaluation=None)
    assert set(trainer.evaluate()) >= {"eval_loss", "eval_runtime"}
    answer = trainer.predict(trainer.eval_dataset)
    assert answer.predictions.shape == (len(photos), 11, 8, 8)
    assert answer.label_ids.shape == (len(photos), 32, 32)


def test_training_without_averaging(photos, toy_config, tmp_path):
    trainer = make_trainer(photos, toy_config, tmp_path, ema_decay=0.0, max_steps=2)
    trainer.train()
    trainer.save_model()
    assert_same(state_of(trainer.model), load_file(tmp_path / "model.safetensors"))
    assert "eval_f1_mean" in trainer.evaluate()


@pytest.mark.parametrize(
    "change",
    [
        *({"optim_args": "x"}, {"report_to": "nonsense"}, {"milestone_epochs": [float("nan")]}),
        *({"optim": "lomo"}, {"report_to": "comet_ml"}),  # packages that are not here
        *({"lr_scheduler_type": "cosine_with_min_lr"}, {"lr_scheduler_type": "warmup_stable_decay"}),
        {"lr_scheduler_type": "cosine", "lr_scheduler_kwargs": {"nonsense": 3}},
        {"lr_scheduler_type": "polynomial", "lr_scheduler_kwargs": {"lr_end": 5}},
    ],
)
def test_what_transformers_and_pytorch_refuse_is_an_argument_that_cannot_be_used(change, toy_config, tmp_path):
    with pytest.raises(InvalidArgumentError, match="A training argument cannot be used"):
        make_trainer(make_face_dataset(2), toy_config, tmp_path, **change).create_optimizer_and_scheduler(4)


def test_a_package_that_an_option_needs_is_named(toy_config, tmp_path):
    with pytest.raises(InvalidArgumentError, match="liger"):
        make_trainer(make_face_dataset(2), toy_config, tmp_path, use_liger_kernel=True, max_steps=1).train()


def test_a_score_that_does_not_exist_cannot_choose_the_best_checkpoint(photos, toy_config, tmp_path):
    steps = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 1}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "nonsense"}
    with pytest.raises(InvalidArgumentError, match="nonsense"):
        make_trainer(photos, toy_config, tmp_path, **steps, **best).train()
