"""Every recipe as it is shipped, and the rules of recipe files."""

import json
import re

import pytest

from farl_hf.data.augmentation import get_augmentation_recipe
from farl_hf.errors import InvalidArgumentError, UnknownNameError
from farl_hf.training.arguments import (
    RECIPE_NAMES,
    RECIPES_FOLDER,
    FaRLTrainingArguments,
    parse_overrides,
    parse_recipe_arguments,
    parse_script_arguments,
    read_recipe,
)
from farl_hf.training.evaluation.protocols import BENCHMARK_PROTOCOLS, check_joined, label_set_of, shared_protocol

# FaRL:farl/experiments: epochs and learning rate of the head; the augmentation follows the name of the data set.
RELEASED = {
    "lapa": (300, 1e-3),
    "celebamask_hq": (300, 1e-3),
    "w300": (250, 1e-2),
    "wflw": (150, 1e-2),
    "aflw19": (150, 1e-2),
}
DATASETS = (*RELEASED, "celeba", "lfwa")


def test_every_experiment_has_a_recipe():
    experiments = {f"{name}_{size}_{mode}" for name in DATASETS for size in (224, 448) for mode in MODES}
    as_described = {f"{name}_448_finetuned_supplement" for name in RELEASED}
    assert set(RECIPE_NAMES) == experiments | as_described


MODES = ("frozen", "finetuned")


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_recipes_resolve_to_what_their_names_say(name, tmp_path):
    dataset, size, mode = re.fullmatch(r"(.*)_(224|448)_(frozen|finetuned)(?:_supplement)?", name).groups()
    task, model_args, data_args, args = parse_recipe_arguments(name, {"output_dir": str(tmp_path)})
    assert data_args.dataset_name == [dataset]
    assert task == BENCHMARK_PROTOCOLS[dataset].task
    assert model_args.image_size == int(size)
    assert args.freeze_backbone == (mode == "frozen")
    assert args.load_best_model_at_end
    assert data_args.eval_split == "test"
    augmentation = get_augmentation_recipe(data_args.augmentation)
    if dataset in RELEASED:
        assert (args.num_train_epochs, args.head_learning_rate) == RELEASED[dataset]
        assert augmentation.mirror_probability == 0
        assert augmentation.shift_fraction == (0.05 if task == "landmarks" and "supplement" not in name else 0.01)
    if task == "landmarks":
        assert augmentation.scale_center == model_args.box_scale == BENCHMARK_PROTOCOLS[dataset].box_scale


@pytest.mark.parametrize("name", RECIPE_NAMES)
def test_a_recipe_begins_with_its_command(name):
    first = (RECIPES_FOLDER / f"{name}.yaml").read_text().splitlines()[0]
    assert first == f"# farl-hf train {name} --data-dir DIR --output-dir runs/{name}"


def test_numbers_of_the_shared_base_are_the_official_ones(tmp_path):
    *_, args = parse_recipe_arguments("lapa_448_finetuned", {"output_dir": str(tmp_path)})
    assert (args.backbone_learning_rate, args.weight_decay, args.ema_decay) == (1e-4, 1e-5, 0.999)
    assert (args.milestone_epochs, args.milestone_factor, args.max_grad_norm) == ([200], 0.1, 0)
    assert (args.adam_beta1, args.adam_beta2, args.warmup_steps) == (0.9, 0.999, 0)
    assert args.per_device_train_batch_size * args.gradient_accumulation_steps == 40


def test_overrides_win_and_null_unsets(tmp_path):
    overrides = parse_overrides(["num_train_epochs=3", "milestone_epochs=[1, 2]", "score_size=null", "optim=sgd"])
    _, model_args, _, args = parse_recipe_arguments(
        "lapa_448_frozen", overrides | {"output_dir": str(tmp_path)}, flags=["--num_train_epochs", "4"]
    )
    assert (args.num_train_epochs, args.milestone_epochs, model_args.score_size) == (4, [1, 2], None)
    assert args.optim == "sgd"


def test_overrides_and_options_may_have_dashes(tmp_path):
    overrides = parse_overrides(["num-train-epochs=3", " head-channels = 24", "optim=adamw_torch"])
    assert overrides == {"num_train_epochs": 3, "head_channels": 24, "optim": "adamw_torch"}
    words = ["--recipe", "lapa_448_frozen", "--output-dir", str(tmp_path), "--num-train-epochs", "2"]
    _, _, args = parse_script_arguments(words)
    assert (args.output_dir, args.num_train_epochs) == (str(tmp_path), 2)


def test_scripts_take_recipes_and_flags_win(tmp_path):
    words = ["--recipe", "w300_224_frozen", "--output_dir", str(tmp_path), "--num_train_epochs", "2"]
    model_args, _, args = parse_script_arguments(words, task="landmarks")
    assert (model_args.image_size, args.num_train_epochs, args.freeze_backbone) == (224, 2, True)
    with pytest.raises(InvalidArgumentError, match="is for landmarks; this script trains parsing"):
        parse_script_arguments(words, task="parsing")
    with pytest.raises(InvalidArgumentError, match="--recipe takes"):
        parse_script_arguments(["--recipe"], task="parsing")


def test_bases_are_merged_in_order_and_own_values_win(tmp_path):
    (tmp_path / "first.yaml").write_text("image_size: 32\nseed: 1\ntask: parsing\n")
    (tmp_path / "second.yaml").write_text("seed: 2\n")
    (tmp_path / "own.yaml").write_text("base: [first, second]\nimage_size: 64\n")
    recipe = read_recipe(tmp_path / "own.yaml")
    assert (recipe.task, recipe.arguments) == ("parsing", {"image_size": 64, "seed": 2})
    (tmp_path / "packaged.yaml").write_text("base: lapa_224_frozen\n")
    assert read_recipe(tmp_path / "packaged.yaml").arguments["freeze_backbone"] is True


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("base: own\n", InvalidArgumentError, "base of itself"),
        ("base: nowhere\n", UnknownNameError, "no recipe or YAML file 'nowhere'"),
        ("seed: 1\n", InvalidArgumentError, "names no task"),
        ("- seed\n", InvalidArgumentError, "holds no"),
        ("seed: [1\n", InvalidArgumentError, "cannot be read as YAML"),
        ("task: parsing\nlearning_rat: 1\n", UnknownNameError, "'learning_rat'. Did you mean 'learning_rate'"),
    ],
)
def test_wrong_recipes_are_explained(text, error, message, tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(error, match=re.escape(message)):
        parse_recipe_arguments(str(path), {"output_dir": str(tmp_path)})


def test_near_names_are_suggested():
    with pytest.raises(UnknownNameError, match="lapa_448_frozen"):
        read_recipe("lapa_448_freeze")
    with pytest.raises(InvalidArgumentError, match="key=value"):
        parse_overrides(["seed"])


def test_the_total_batch_sets_the_accumulation(tmp_path, monkeypatch):
    settings = {"output_dir": str(tmp_path), "per_device_train_batch_size": 5, "total_train_batch_size": 40}
    assert FaRLTrainingArguments(**settings).gradient_accumulation_steps == 8
    arguments = FaRLTrainingArguments(**settings)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert arguments.accumulation_steps(40) == 2
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(InvalidArgumentError, match="40 is not a multiple of 15"):
        arguments.accumulation_steps(40)


def test_label_sets_follow_the_order_of_the_classes():
    assert label_set_of(["celebamask_hq"], None) == "celebamask"
    assert label_set_of(["celebamask_hq"], "dataset") == "celebamask_dataset"
    assert label_set_of(["some/hub-data"], None) is None
    assert label_set_of(["synthetic_faces"], "scenes") == "lapa"


def test_joined_data_sets_share_a_protocol_or_have_none():
    assert shared_protocol(["w300"]).box_scale == 0.8
    assert shared_protocol(["w300", "synthetic_faces"]).alignment == "points"


@pytest.mark.parametrize(
    ("names", "config", "described"),
    [
        (["lapa", "celebamask_hq"], None, "lapa: lapa, celebamask_hq: celebamask"),
        (["synthetic_faces", "celebamask_hq"], None, "synthetic_faces: lapa, celebamask_hq: celebamask"),
        (["lapa", "celeba"], None, "lapa: lapa, celeba: no label maps"),
    ],
)
def test_label_maps_of_other_classes_are_not_joined(names, config, described):
    with pytest.raises(InvalidArgumentError, match=re.escape(described)):
        check_joined("parsing", names, config)
    check_joined("attributes", names, config)


def test_joined_label_sets_are_those_of_the_known_names():
    check_joined("parsing", ["lapa", "synthetic_faces", "my-faces"], None)
    assert label_set_of(["lapa", "synthetic_faces"], None) == "lapa"
    assert label_set_of(["my-faces", "celebamask_hq"], None) == "celebamask"
    assert label_set_of(["my-faces", "celebamask_hq"], "dataset") == "celebamask_dataset"


def test_names_of_version_0_1_are_understood(tmp_path):
    """A recipe.yaml of that version has `score_stride`, and `data_dependent_start: false` always."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("task: parsing\nconfig_name: toy\nscore_stride: 2\ndata_dependent_start: false\n")
    output = {"output_dir": str(tmp_path)}
    assert parse_recipe_arguments(str(recipe), output)[1].output_stride == 2
    assert parse_recipe_arguments(str(recipe), output | {"score_stride": 4})[1].output_stride == 4
    for flag in ("--score_stride", "--score-stride", "--output_stride", "--output-stride"):
        assert parse_recipe_arguments(str(recipe), output, flags=[flag, "8"])[1].output_stride == 8
    (tmp_path / "args.json").write_text(json.dumps(output | {"score_stride": 2}))
    assert parse_script_arguments([str(tmp_path / "args.json")])[0].output_stride == 2


@pytest.mark.parametrize("line", ["muon_learning_rate: 0.02", "data_dependent_start: true"])
def test_a_recipe_that_needs_what_is_gone_is_refused(line, tmp_path):
    (tmp_path / "recipe.yaml").write_text(f"task: parsing\n{line}\n")
    with pytest.raises(UnknownNameError, match=f"no training argument '{line.split(':')[0]}'"):
        parse_recipe_arguments(str(tmp_path / "recipe.yaml"), {"output_dir": str(tmp_path)})


@pytest.mark.parametrize(
    ("name", "value"),
    [("do_train", "perhaps"), ("freeze_backbone", "maybe"), ("max_steps", 1.5), ("image_size", [1, 2])],
)
def test_values_of_a_json_file_are_read_as_those_of_options(name, value, tmp_path):
    path = tmp_path / "args.json"
    path.write_text(json.dumps({"output_dir": str(tmp_path), name: value}))
    with pytest.raises(InvalidArgumentError):
        parse_script_arguments([str(path)])
    path.write_text(json.dumps({"output_dir": str(tmp_path), "do_train": "false", "head_learning_rate": "1e-3"}))
    training = parse_script_arguments([str(path)])[-1]
    assert (training.do_train, training.head_learning_rate) == (False, 1e-3)
