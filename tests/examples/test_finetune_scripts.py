"""The scripts that show the stock Trainer: two steps, an evaluation, and a folder that loads as a pipeline."""

from pathlib import Path

import datasets
import pytest
import skimage.data
from launched_scripts import run_script, run_together
from PIL import Image
from safetensors.torch import load_file
from transformers import pipeline

from farl_hf import FaRLConfig

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = {"parsing": "eval_f1_mean", "landmarks": "eval_nme", "attributes": "eval_mean_accuracy"}


def flags(output_dir, **changes):
    settings = {
        "output_dir": output_dir, "max_steps": 2, "num_train_photos": 4, "num_test_photos": 2,
        "per_device_train_batch_size": 2, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
    } | changes  # fmt: skip
    return [str(part) for name, value in settings.items() for part in (f"--{name}", value)]


@pytest.fixture(autouse=True)
def _rendered_once(monkeypatch, tmp_path_factory):
    folder = tmp_path_factory.getbasetemp() / "rendered"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(folder))


@pytest.mark.parametrize("task", SCRIPTS)
def test_the_stock_trainer_trains_and_evaluates(task, tmp_path, capsys):
    run_script(EXAMPLES / f"finetune_{task}.py", flags(tmp_path))
    assert SCRIPTS[task] in capsys.readouterr().out
    assert len(pipeline(f"face-{task}", model=str(tmp_path))(Image.fromarray(skimage.data.astronaut()))) == 1


def test_the_attributes_of_the_built_in_model_keep_their_places(tmp_path):
    run_script(EXAMPLES / "finetune_attributes.py", flags(tmp_path))
    trained, start = (FaRLConfig.from_pretrained(name) for name in (tmp_path, "farl-tiny-attributes"))
    assert trained.id2label == start.id2label
    assert start.attribute_thresholds
    assert trained.attribute_thresholds is None


@pytest.mark.parametrize(
    ("task", "changes", "fact"),
    [
        ("parsing", {"dataset": "nowhere"}, "no data set 'nowhere'"),
        ("parsing", {"dataset": "lapa", "data_dir": "nowhere"}, "nowhere does not exist"),
        ("landmarks", {"dataset": "without_faces"}, "None of the 1 photos"),
        ("parsing", {"dataset": "one_split"}, "no split 'test'"),
        ("parsing", {"model": "nowhere"}, "nowhere"),
        ("attributes", {"model": "nowhere"}, "nowhere"),
        ("landmarks", {"model": "retinaface-mobilenet-wider"}, "retinaface-mobilenet-wider"),
        ("landmarks", {"augmentation": "rain"}, "no augmentation recipe 'rain'"),
        ("attributes", {"learning_rate": "fast"}, "fast"),
        ("attributes", {"leerning_rate": 1}, "Did you mean '--learning-rate'"),
        ("parsing", {"resume_from_checkpoint": "nowhere"}, "no complete checkpoint of a run in nowhere"),
        ("landmarks", {"resume_from_checkpoint": "."}, "no complete checkpoint of a run in ."),
        ("parsing", {"per_device_train_batch_size": 0}, "--per-device-train-batch-size is 0"),
        ("parsing", {"per_device_train_batch_size": 1}, "--dataloader-drop-last"),
        ("attributes", {"output_dir": "/proc/run"}, "The output folder /proc/run cannot be made or written"),
        ("landmarks", {"fp16": True, "use_cpu": True}, "--fp16 needs an accelerator"),
        ("attributes", {"learning_rate": 1e30}, "not finite at step 2"),
        ("parsing", {"learning_rate": 1e30, "save_strategy": "steps", "save_steps": 1}, "not finite at step"),
        ("landmarks", {"learning_rate": 1e30, "eval_strategy": "steps", "eval_steps": 1}, "at step 1"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(task, changes, fact, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = datasets.Dataset.from_dict({"image": ["a.jpg"]})
    datasets.DatasetDict(train=pictures, test=pictures).save_to_disk("without_faces")
    datasets.DatasetDict(train=pictures).save_to_disk("one_split")
    with pytest.raises(SystemExit) as ended:
        run_script(EXAMPLES / f"finetune_{task}.py", flags(**{"output_dir": "run", **changes}))
    assert fact in str(ended.value.code)
    assert "\n" not in str(ended.value.code)
    for file in tmp_path.rglob("*.safetensors"):  # a checkpoint of an earlier step
        assert "checkpoint-1" in str(file)
        assert all(tensor.isfinite().all() for tensor in load_file(file).values())


@pytest.mark.nightly
@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_needs_no_change_of_the_script(stage, tmp_path):
    config = EXAMPLES / "deepspeed" / f"zero{stage}.json"
    run_together(
        EXAMPLES / "finetune_parsing.py",
        flags(tmp_path, deepspeed=config, use_cpu=True, ddp_backend="gloo", logging_steps=1, logging_strategy="steps"),
    )
    assert (tmp_path / "model.safetensors").stat().st_size > 1_000_000
