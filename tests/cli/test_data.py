"""`farl-hf data check | convert`: what is printed, and the exit status."""

import dataclasses

import pytest
from raw_layouts import write_lapa
from typer.testing import CliRunner

from farl_hf.cli import app
from farl_hf.data.datasets.catalogue import PUBLISHED_DATASETS
from farl_hf.data.loading import load_face_dataset


@pytest.fixture
def raw(tmp_path):
    write_lapa(tmp_path / "raw", (2, 1, 1))
    return tmp_path / "raw"


@pytest.fixture
def _published_sizes_are_those_of_the_folder(monkeypatch):
    counts = {"train": 2, "validation": 1, "test": 1}
    monkeypatch.setitem(PUBLISHED_DATASETS, "lapa", dataclasses.replace(PUBLISHED_DATASETS["lapa"], counts=counts))


def farl_hf(monkeypatch, *words):
    monkeypatch.setenv("COLUMNS", "200")
    return CliRunner().invoke(app, ["data", *map(str, words)])


@pytest.mark.usefixtures("_published_sizes_are_those_of_the_folder")
def test_a_sound_folder(raw, monkeypatch):
    done = farl_hf(monkeypatch, "check", "lapa", raw)
    assert done.exit_code == 0, done.output
    assert "4 photos checked, 0 bad." in done.stdout


@pytest.mark.usefixtures("_published_sizes_are_those_of_the_folder")
def test_a_bad_photo_is_named_unless_pictures_are_not_decoded(raw, monkeypatch):
    (raw / "train" / "images" / "00001_0.jpg").write_bytes(b"[bold]")
    done = farl_hf(monkeypatch, "check", "lapa", raw)
    assert done.exit_code == 1
    assert f"{raw}/train/images/00001_0.jpg cannot be decoded" in done.stdout
    assert "4 photos checked, 1 bad." in done.stdout
    assert farl_hf(monkeypatch, "check", "lapa", raw, "--quick").exit_code == 0


def test_other_sizes_than_published_fail(raw, monkeypatch):
    done = farl_hf(monkeypatch, "check", "lapa", raw)
    assert done.exit_code == 1
    assert "The split 'train' of LaPa has 2 photos, published are 18,176." in done.stdout
    assert "18,176" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("lapa", "nowhere"), "nowhere does not exist. LaPa comes from https://github.com/JDAI-CV"),
        (("laap", "nowhere"), "There is no published data set 'laap'. Did you mean 'lapa'? Known: "),
        (
            ("celebamask_hq", "nowhere", "--config", "facer"),
            "no configuration 'facer'. Did you mean 'farl'? Known: farl,",
        ),
    ],
)
def test_what_cannot_start_is_one_sentence(words, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    done = farl_hf(monkeypatch, "check", *words)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.output


def test_convert_says_what_it_wrote(raw, monkeypatch, tmp_path):
    (raw / "train" / "images" / "00001_0.jpg").write_bytes(b"")
    refused = farl_hf(monkeypatch, "convert", "lapa", raw, "-o", tmp_path / "out")
    assert refused.exit_code == 2
    assert not (tmp_path / "out").exists()
    done = farl_hf(monkeypatch, "convert", "lapa", raw, "-o", tmp_path / "out", "--bad-photos", "skip")
    assert done.exit_code == 0, done.output
    assert "train: 1 photo, 1 skipped" in done.stdout
    rows = load_face_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 1


def test_a_policy_that_does_not_exist(raw, monkeypatch, tmp_path):
    done = farl_hf(monkeypatch, "convert", "lapa", raw, "-o", tmp_path / "out", "--bad-photos", "ignore")
    assert done.exit_code == 2
    assert "no policy for bad photos 'ignore'. Known: raise, skip." in " ".join(done.stderr.split())
