import datasets
import pytest
import torch
from face_rows import make_face_dataset
from safetensors.torch import load_file
from transformers import HfArgumentParser

from farl_hf import FaRLForAttributes, FaRLImageProcessor
from farl_hf.data.samples.pretraining_samples import TwoViewTransform
from farl_hf.errors import InvalidArgumentError, UnknownNameError
from farl_hf.training.pretraining import self_supervised
from farl_hf.training.pretraining.run import run_pretraining
from farl_hf.training.pretraining.self_supervised import make_self_supervised_trainer
from farl_hf.training.pretraining.trainer import (
    PretrainingArguments,
    PretrainingDataArguments,
    PretrainingModelArguments,
)


def make_trainer(toy_config, folder, objective="swav", **arguments):
    processor = FaRLImageProcessor(size={"height": 32, "width": 32})
    settings = {"max_steps": 4, "save_steps": 2, "per_device_train_batch_size": 8, "dataloader_num_workers": 0}
    args = PretrainingArguments(
        output_dir=str(folder), report_to="none", logging_steps=1, disable_tqdm=True, **(settings | arguments)
    )
    rows = make_face_dataset(16).with_transform(TwoViewTransform(processor))
    torch.manual_seed(0)
    objective = PretrainingModelArguments(objective=objective, num_prototypes=6)
    return make_self_supervised_trainer(objective, toy_config(), processor, rows, args)


@pytest.mark.parametrize("objective", ["simclr", "swav"])
def test_training_resumes_exactly_and_heads_start_from_it(objective, toy_config, tmp_path):
    through = make_trainer(toy_config, tmp_path / "through", objective)
    through.train()
    assert all(0 < entry["loss"] < 20 for entry in through.state.log_history if "loss" in entry)
    resumed = make_trainer(toy_config, tmp_path / "resumed", objective)
    resumed.train(resume_from_checkpoint=str(tmp_path / "through" / "checkpoint-2"))
    for name, tensor in through.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], tensor, rtol=0, atol=0, msg=name)
    through.save_model()
    model = FaRLForAttributes.from_pretrained(tmp_path / "through")
    learned = through.model.vision_model.state_dict()
    assert all(learned[name].equal(tensor) for name, tensor in model.vision_model.state_dict().items())
    assert FaRLImageProcessor.from_pretrained(tmp_path / "through").size["height"] == 32


def test_simclr_learns_to_tell_faces_apart(toy_config, tmp_path):
    trainer = make_trainer(
        toy_config, tmp_path, "simclr", max_steps=30, learning_rate=1e-2, warmup_steps=0, save_strategy="no"
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def run_script(folder, data_folder, *words):
    """The whole pre-training as `examples/pretrain_farl.py` runs it."""
    parser = HfArgumentParser((PretrainingModelArguments, PretrainingDataArguments, PretrainingArguments))
    settings = {
        "config_name": "toy",
        "dataset_name": data_folder,
        "image_size": 32,
        "tokenizer_name": "captions",
        "max_text_tokens": 8,
        "max_steps": 1,
        "per_device_train_batch_size": 4,
        "dataloader_num_workers": 0,
        "num_prototypes": 6,
        "report_to": "none",
        "output_dir": folder,
    }
    flags = [str(word) for name, value in settings.items() for word in (f"--{name}", value)]
    return run_pretraining(*parser.parse_args_into_dataclasses([*flags, *words]))


@pytest.fixture(scope="module")
def data_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faces")
    datasets.DatasetDict(train=make_face_dataset(8)).save_to_disk(str(folder))
    return folder


@pytest.mark.parametrize("objective", ["simclr", "swav", "itc"])
def test_the_script_trains_by_the_objective(objective, data_folder, tmp_path):
    run_script(tmp_path, data_folder, "--do_train", "--objective", objective)
    names = load_file(tmp_path / "model.safetensors")
    assert any(name.startswith("text_model.") for name in names) == (objective == "itc")
    assert any("prototypes" in name for name in names) == (objective == "swav")
    assert not any(name.startswith("mim_") for name in names)
    _, report = FaRLForAttributes.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["unexpected_keys"]


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["--objective", "moco"], UnknownNameError, "Known: itc_mim, itc, simclr, swav"),
        (["--objective", "simclr", "--do_train", "--do_eval"], InvalidArgumentError, "without --do-eval"),
        (
            ["--objective", "swav", "--do_train", "--model_name_or_path", "farl"],
            InvalidArgumentError,
            "random weights",
        ),
    ],
)
def test_what_an_objective_cannot_do_is_said_first(words, error, message, data_folder, tmp_path):
    with pytest.raises(error, match=message):
        run_script(tmp_path, data_folder, *words)
    assert not list(tmp_path.iterdir())


def test_prototypes_under_zero_3_are_refused(toy_config, tmp_path, monkeypatch):
    monkeypatch.setattr(self_supervised, "is_deepspeed_zero3_enabled", lambda: True)
    with pytest.raises(InvalidArgumentError, match="ZeRO-2"):
        make_trainer(toy_config, tmp_path)
