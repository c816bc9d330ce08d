import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from farl_hf.checkpoints import EMBEDDED_CHECKPOINTS, packing
from farl_hf.checkpoints.embedded_models import embedded_folder
from farl_hf.checkpoints.packing import pack_checkpoint
from farl_hf.errors import NotACheckpointError


def write_run(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "farl"}))
    (folder / "preprocessor_config.json").write_text("{}")
    weights = {"a.weight": torch.full((4, 4), 1 / 3), "a.bias": torch.full((4,), 1 / 3), "count": torch.tensor(7)}
    save_file(weights, folder / "model.safetensors")
    return weights


def test_matrices_are_halved_and_the_rest_is_kept(tmp_path):
    weights = write_run(tmp_path / "run")
    size = pack_checkpoint(tmp_path / "run", tmp_path / "packed")
    packed = load_file(tmp_path / "packed" / "model.safetensors")
    assert packed["a.weight"].dtype == torch.float16
    assert torch.equal(packed["a.bias"], weights["a.bias"])
    assert torch.equal(packed["count"], weights["count"])
    assert size == (tmp_path / "packed" / "model.safetensors").stat().st_size
    assert json.loads((tmp_path / "packed" / "config.json").read_text())["dtype"] == "float32"


@pytest.mark.parametrize("name", EMBEDDED_CHECKPOINTS)
def test_labels_stand_in_the_order_of_the_outputs(name):
    labels = json.loads((embedded_folder(name) / "config.json").read_text()).get("id2label") or {}
    assert list(labels) == [str(index) for index in range(len(labels))]


def test_thresholds_that_packing_drops_are_named(tmp_path, caplog):
    write_run(tmp_path / "run")
    (tmp_path / "built-in").mkdir()
    (tmp_path / "built-in" / "config.json").write_text(json.dumps({"attribute_thresholds": {"beard": 0.3}}))
    for dropped in (True, False):
        caplog.clear()
        with caplog.at_level("WARNING"):
            pack_checkpoint(tmp_path / "run", tmp_path / "built-in")
        assert ("belong to its former weights and are dropped" in caplog.text) == dropped


def test_packing_keeps_the_order_of_labels(tmp_path):
    write_run(tmp_path / "run")
    labels = {str(index): f"label {index}" for index in range(12)}
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model_type": "farl", "id2label": labels}))
    pack_checkpoint(tmp_path / "run", tmp_path / "packed")
    assert list(json.loads((tmp_path / "packed" / "config.json").read_text())["id2label"]) == list(labels)


def test_an_incomplete_folder_is_refused_by_the_name_of_what_it_lacks(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "preprocessor_config.json").unlink()
    with pytest.raises(NotACheckpointError, match=r"preprocessor_config\.json"):
        pack_checkpoint(tmp_path / "run", tmp_path / "packed")


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    for folder, name in (("run", "FaceDetector"), ("packed", "FaceParser")):
        write_run(tmp_path / folder)
        (tmp_path / folder / "config.json").write_text(json.dumps({"architectures": [name]}))
    before = (tmp_path / "packed" / "config.json").read_text()
    with pytest.raises(
        NotACheckpointError, match=r"run is a checkpoint of FaceDetector, but .*packed holds FaceParser"
    ):
        pack_checkpoint(tmp_path / "run", tmp_path / "packed")
    assert (tmp_path / "packed" / "config.json").read_text() == before


def test_a_folder_without_a_name_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["packing", str(tmp_path)])
    with pytest.raises(SystemExit):
        packing.main()
    assert "NAME is missing" in capsys.readouterr().err


def test_a_generator_needs_no_settings_of_a_processor(tmp_path):
    write_run(tmp_path / "run")
    (tmp_path / "run" / "preprocessor_config.json").unlink()
    (tmp_path / "run" / "config.json").write_text(json.dumps({"model_type": "face_decoder"}))
    pack_checkpoint(tmp_path / "run", tmp_path / "packed")
    assert sorted(path.name for path in (tmp_path / "packed").iterdir()) == ["config.json", "model.safetensors"]


def test_commits_follow_the_files(tmp_path, monkeypatch):
    for name in EMBEDDED_CHECKPOINTS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(name)
    monkeypatch.setattr(packing, "embedded_folder", lambda name: tmp_path / name)
    commits = []
    for content in ("before", "after"):
        (tmp_path / "farl-tiny" / "config.json").write_text(content)
        packing.store_commits(tmp_path / "commits.json")
        commits.append(json.loads((tmp_path / "commits.json").read_text()))
    assert set(commits[0]) == set(EMBEDDED_CHECKPOINTS)
    assert {name for name in commits[0] if commits[0][name] != commits[1][name]} == {"farl-tiny"}
