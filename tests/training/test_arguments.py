"""Training arguments that cannot work are refused when they are read."""

from types import SimpleNamespace

import pytest

from farl_hf.errors import FaRLError, InvalidArgumentError
from farl_hf.training.arguments import (
    FaRLTrainingArguments,
    ModelArguments,
    SharedTrainingArguments,
    check_numbers,
    make_scratch_config,
    parse_overrides,
    parse_script_arguments,
    read_recipe,
    save_resolved_recipe,
)
from farl_hf.training.finetuning import FACE_TASK_SETTINGS, make_processor
from farl_hf.training.pretraining.trainer import PretrainingArguments

CLASSES = (SharedTrainingArguments, FaRLTrainingArguments, PretrainingArguments)


@pytest.mark.parametrize("arguments_class", CLASSES)
def test_half_precision_needs_an_accelerator(arguments_class, tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"--fp16 needs an accelerator.*--bf16"):
        arguments_class(output_dir=str(tmp_path), fp16=True, use_cpu=True)
    assert arguments_class(output_dir=str(tmp_path), bf16=True, use_cpu=True).bf16


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("per_device_train_batch_size", value) for value in (0, -4)),
        *(("gradient_accumulation_steps", 0), ("total_train_batch_size", 0), ("image_size", 0)),
        *(("head_learning_rate", value) for value in ("nan", "inf", -1)),
        *(("weight_decay", "nan"), ("dataloader_num_workers", -1), ("seed", -1), ("data_seed", -5)),
    ],
)
def test_numbers_that_cannot_be_are_refused_with_their_option(name, value, tmp_path):
    words = ["--output_dir", str(tmp_path), f"--{name}", str(value)]
    with pytest.raises(
        InvalidArgumentError, match=r"^--[a-z0-9-]+ is [^\n]*; expected (0|1) or more(, less than 4294967296)?\.$"
    ):
        parse_script_arguments(words, "parsing")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *(("mirror_probability", value, "a number from 0 to 1") for value in (-0.1, 1.1)),
        *(("ema_decay", value, "0 or more, less than 1") for value in (-1, 1)),
        *(("max_steps", value, "1 or more, or -1 for no limit") for value in (0, -2)),
        *((name, -1, "0 or more") for name in ("max_grad_norm", "min_face_px", "preprocessing_num_workers")),
    ],
)
def test_numbers_out_of_their_range_are_refused(name, value, expected, tmp_path):
    words = ["--output_dir", str(tmp_path), f"--{name}", str(value)]
    with pytest.raises(InvalidArgumentError, match=rf"^--[a-z-]+ is {value:g}(\.0)?; expected {expected}\.$"):
        parse_script_arguments(words, "parsing")


@pytest.mark.parametrize("setting", [{"warp_factor": 3.0}, {"face_scale": -1.0}, {"score_size": -1}])
@pytest.mark.parametrize("model", [None, "farl-tiny-parsing"])
def test_settings_of_the_processor_are_refused_in_a_sentence(setting, model):
    given = ModelArguments(model_name_or_path=model, config_name=None if model else "tiny", **setting)
    with pytest.raises(FaRLError, match=next(iter(setting))):
        make_processor(FACE_TASK_SETTINGS["parsing"], given)


def test_settings_of_a_new_model_are_refused_in_a_sentence():
    with pytest.raises(InvalidArgumentError, match="label_weights"):
        make_scratch_config("tiny", 32, ["a", "b"], {"label_weights": [-1.0, 1.0]})


@pytest.mark.parametrize("name", ["seed", "data_seed"])
def test_seeds_are_those_of_numpy(name, tmp_path):
    words = ["--output_dir", str(tmp_path), f"--{name}"]
    with pytest.raises(InvalidArgumentError, match="less than 4294967296"):
        parse_script_arguments([*words, str(2**32)], "parsing")
    assert getattr(parse_script_arguments([*words, str(2**32 - 1)], "parsing")[-1], name) == 2**32 - 1


@pytest.mark.parametrize("name", ["simclr_temperature", "sinkhorn_epsilon"])
def test_temperatures_are_above_0(name):
    with pytest.raises(InvalidArgumentError, match="more than 0"):
        check_numbers([SimpleNamespace(**{name: 0.0})])


@pytest.mark.parametrize("text", ["[" * 50_000, "{", "!!python/object/apply:os.system [x]"])
def test_yaml_that_cannot_be_read_is_one_short_sentence(text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    for read in (lambda: read_recipe(tmp_path / "recipe.yaml"), lambda: parse_overrides([f"seed={text}"])):
        with pytest.raises(InvalidArgumentError, match="cannot be read") as caught:
            read()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700


@pytest.mark.parametrize(
    "text", ["base: 3\ntask: parsing", "task: [parsing]", "task: parsing\n3: 4", "base: [3]\ntask: x"]
)
def test_a_recipe_whose_names_are_no_text_is_refused(text, tmp_path):
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InvalidArgumentError, match=r"recipe\.yaml"):
        read_recipe(tmp_path / "recipe.yaml")


def test_workers_that_stay_need_workers(tmp_path):
    with pytest.raises(InvalidArgumentError, match="dataloader-num-workers"):
        SharedTrainingArguments(str(tmp_path), dataloader_persistent_workers=True, dataloader_num_workers=0)


def test_members_of_enumerations_are_written_by_their_values(tmp_path):
    arguments = SharedTrainingArguments(str(tmp_path), debug="underflow_overflow")
    path = save_resolved_recipe(tmp_path, "parsing", arguments)
    assert read_recipe(path).arguments["debug"] == ["underflow_overflow"]


def test_a_smoothing_that_would_replace_the_losses_is_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="label-smoothing-factor"):
        SharedTrainingArguments(output_dir=str(tmp_path), label_smoothing_factor=0.1)
