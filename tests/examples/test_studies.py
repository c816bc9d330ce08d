"""Each study as a user starts it, with toy towers and a few faces: table, numbers, plot, and kept trainings."""

import importlib
import json
import re
from pathlib import Path

import datasets
import pytest
from launched_scripts import run_script
from PIL import Image
from study_tables import table_rows
from toy_checkpoints import save_toy_checkpoints

from farl_hf.errors import NotACheckpointError
from farl_hf.modeling import FaceTransformerConfig, FaRLConfig

STUDIES = Path(__file__).parents[2] / "examples" / "studies"
TOY = {
    "image_size": 32,
    "head_channels": 8,
    "max_steps": 1,
    "warmup_steps": 0,
    "per_device_train_batch_size": 4,
    "dataloader_num_workers": 0,
    "preprocessing_num_workers": 1,
}


@pytest.fixture(scope="module")
def toy_backbone(tmp_path_factory):
    """A checkpoint of four blocks that saw neither parsing nor attributes."""
    return save_toy_checkpoints(tmp_path_factory.mktemp("backbones"))["face-landmarks"]


@pytest.fixture
def run_study(data_folder, toy_backbone, monkeypatch, capsys):
    """Runs a study in this process, because starting one takes so long."""
    monkeypatch.syspath_prepend(str(STUDIES))

    def run(name, output_dir, *words, **changes):
        values = TOY | {"dataset_name": data_folder, "model_name_or_path": toy_backbone} | changes
        settings = [f"{key}={value}" for key, value in values.items() if value is not None]
        words = ["--output_dir", output_dir, *words, "--set", *settings]
        status = importlib.import_module(name).main([str(word) for word in words])
        return status, capsys.readouterr()

    return run


def rows_of(folder):
    return table_rows((folder / "table.md").read_text())


def test_levels_are_rows_and_the_script_starts_alone(data_folder, toy_backbone, tmp_path, monkeypatch, capsys):
    values = TOY | {"dataset_name": data_folder, "model_name_or_path": toy_backbone}
    words = ["--levels", "2", "--output_dir", tmp_path, "--set", *(f"{key}={value}" for key, value in values.items())]
    monkeypatch.syspath_prepend(str(STUDIES))
    with pytest.raises(SystemExit) as ended:
        run_script(STUDIES / "feature_levels.py", words)
    assert ended.value.code == 0
    header, _, single, several = rows_of(tmp_path)
    assert header == ["Backbone level", "Parsing F1 mean (%) ↑", "Attributes mean accuracy (%) ↑"]
    assert (single[0], several[0]) == ("2", "several levels")
    assert "torchrun --nproc_per_node 8 examples/studies/feature_levels.py" in capsys.readouterr().out
    assert Image.open(tmp_path / "plot.png").width > 600
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert [run["task"] for run in runs] == ["parsing", "attributes"] * 2
    assert float(single[1]) == pytest.approx(100 * runs[0]["results"]["last"]["scores"]["f1_mean"], abs=0.005)
    configs = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/2_*/config.json"))]
    assert [config["feature_levels"] for config in configs] == [[1] * 4] * 2


def test_warp_factors_reach_the_image_processor(run_study, tmp_path):
    status, _ = run_study("warp_factor", tmp_path, "--warp_factors", 0, 0.8)
    assert status == 0
    assert rows_of(tmp_path)[0] == [
        *("Warp factor", "F1 mean (%) ↑", "F1 mean without hair (%) ↑", "F1 hair (%) ↑"),
    ]
    files = [tmp_path.glob(f"runs/{name}_parsing*/preprocessor_config.json") for name in ("0.0", "0.8")]
    factors = [json.loads(next(found).read_text())["warp_factor"] for found in files]
    assert factors == [0.0, 0.8]


def test_finished_trainings_are_kept_until_an_argument_changes(run_study, tmp_path):
    run_study("warp_factor", tmp_path, "--warp_factors", 0.4)
    (first,) = tmp_path.glob("runs/*/run.json")
    written = first.stat().st_mtime_ns
    run_study("warp_factor", tmp_path, "--warp_factors", 0.4, 0.6)
    assert first.stat().st_mtime_ns == written
    assert len(rows_of(tmp_path)) == 4
    run_study("warp_factor", tmp_path, "--warp_factors", 0.4, head_learning_rate=0.5)
    assert len(list(tmp_path.glob("runs/0.4_*"))) == 2
    assert len(rows_of(tmp_path)) == 3


def test_few_shot_curves_of_a_checkpoint_and_of_random_weights(run_study, toy_backbone, tmp_path):
    words = ["--backbones", toy_backbone, "random", "--random_config", "toy", "--ratios", 0.25, 1]
    words += ["--recipes", STUDIES / "tiny" / "attributes.yaml"]
    status, _ = run_study("few_shot", tmp_path, *words, model_name_or_path=None)
    assert status == 0
    assert [row[0] for row in rows_of(tmp_path)] == [
        *("Backbone, training data", "---"),
        *(f"{toy_backbone}, 25 %", f"{toy_backbone}, 100 %", "random, 25 %", "random, 100 %"),
    ]
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert len({run["results"]["last"]["scores"]["loss"] for run in runs}) == len(runs)


def test_seeds_give_a_mean_and_its_deviation(run_study, toy_backbone, tmp_path):
    words = ["--backbones", toy_backbone, "--seeds", 0, 1]
    status, _ = run_study("backbones", tmp_path, *words, model_name_or_path=None)
    assert status == 0
    assert "±" in rows_of(tmp_path)[2][1]


def test_a_setting_that_replaces_a_row_is_refused(run_study, tmp_path):
    status, printed = run_study("warp_factor", tmp_path, "--warp_factors", 0, 0.8, warp_factor=0.8)
    assert status == 1
    assert "--set warp_factor=0.8 would replace warp_factor=0.0 of the row '0.0'" in printed.err


@pytest.mark.parametrize(
    ("study", "words", "message"),
    [
        ("feature_levels", ["--levels", 9], "has levels 1 to 4"),
        ("warp_factor", ["--warp_factors", 1.5], "between 0 and 1"),
        ("few_shot", ["--ratios", 0], r"lies in \(0, 1\]"),
        ("backbones", ["--recipes", "lapa"], "no recipe or YAML file 'lapa'"),
        ("backbones", ["--recipes", "lapa_224_frozen", "lapa_448_frozen"], "one recipe per task"),
        ("backbones", ["--recipes", "lapa_224_frozen", "--data_dirs", "a", "b"], "2 folders for 1 recipes"),
    ],
)
def test_what_cannot_be_studied_is_said(run_study, study, words, message, tmp_path):
    status, printed = run_study(study, tmp_path, *words)
    assert status == 1
    assert re.search(message, printed.err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "backbone",
    [
        FaceTransformerConfig(hidden_size=16, num_hidden_layers=5, num_attention_heads=2, intermediate_size=16),
        {"model_type": "timm_wrapper", "architecture": "vit_tiny_patch16_224", "model_args": {"depth": 5}},
    ],
    ids=["face transformer", "timm"],
)
def test_levels_are_those_of_the_backbone(backbone, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(STUDIES))
    levels, runs = importlib.import_module("feature_levels"), importlib.import_module("study_runs")
    FaRLConfig(backbone_config=backbone).save_pretrained(tmp_path)

    def recipe_from(start):
        return runs.StudyRecipe("lapa_224_frozen", "parsing", "toy", {"model_name_or_path": str(start)})

    assert levels.depth_of_backbone([recipe_from(tmp_path)]) == 5
    with pytest.raises(NotACheckpointError, match="no-such-folder"):
        levels.depth_of_backbone([recipe_from("no-such-folder")])


PRETRAINING = {
    "config_name": "toy",
    "max_train_samples": 8,
    "max_eval_samples": 3,
    "preprocessing_num_workers": 1,
    "image_size": 32,
    "visual_vocab_size": 4,
    "num_prototypes": 4,
    "max_steps": 1,
    "per_device_train_batch_size": 4,
    "dataloader_num_workers": 0,
}


@pytest.fixture
def pretraining_words(data_folder):
    values = PRETRAINING | {"dataset_name": data_folder}
    return ["--pretraining_set", *(f"{name}={value}" for name, value in values.items())]


def test_objectives_start_heads_of_all_tasks(run_study, pretraining_words, tmp_path):
    words = ["--objectives", "swav", "itc_mim", *pretraining_words]
    status, printed = run_study("pretraining_objectives", tmp_path, *words, model_name_or_path=None)
    assert status == 0, printed.err
    header, _, *rows = rows_of(tmp_path)
    assert header[1:] == ["Parsing F1 mean (%) ↑", "Landmarks NME (%) ↓", "Attributes mean accuracy (%) ↑"]
    assert [row[0] for row in rows] == ["SwAV+ALIGN", "ITC+MIM1+ALIGN (FaRL)"]
    finished = sorted(tmp_path.glob("pretrained/*/finished.json"))
    assert [json.loads(path.read_text())["objective"] for path in finished] == ["itc_mim", "swav"]
    written = [path.stat().st_mtime_ns for path in finished]
    run_study("pretraining_objectives", tmp_path, *words, model_name_or_path=None)
    assert [path.stat().st_mtime_ns for path in finished] == written


def test_face_ratios_keep_the_number_of_images(run_study, pretraining_words, tmp_path):
    words = ["--face_ratios", 0, 0.5, *pretraining_words]
    words += ["--recipes", STUDIES / "tiny" / "attributes.yaml"]
    status, printed = run_study("face_ratio", tmp_path, *words, model_name_or_path=None)
    assert status == 0, printed.err
    assert [row[0] for row in rows_of(tmp_path)[2:]] == ["0", "50"]
    folders = sorted(tmp_path.glob("pairs/*-of-8-*"))
    pairs = [datasets.load_from_disk(folder)["train"] for folder in folders]
    assert [sum(map(len, rows["points5_xy"])) for rows in pairs] == [0, 4]
    assert [len(rows) for rows in pairs] == [8, 8]


@pytest.mark.parametrize(
    ("study", "words", "message"),
    [
        ("pretraining_objectives", ["--objectives", "moco"], "Known: random, swav, simclr, itc, itc_mim"),
        ("face_ratio", ["--face_ratios", 2], "between 0 and 1"),
    ],
)
def test_what_cannot_be_pretrained_is_said(run_study, study, words, message, tmp_path):
    status, printed = run_study(study, tmp_path, *words)
    assert status == 1
    assert message in printed.err
