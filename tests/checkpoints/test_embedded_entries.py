"""Built-in names in the Hugging Face cache: made at import when offline, and always those of this very package."""

import hashlib
import os
import subprocess
import sys

import pytest
from huggingface_hub import scan_cache_dir

from farl_hf.checkpoints import EMBEDDED_CHECKPOINTS, checkpoint, embedded_models
from farl_hf.checkpoints.embedded_models import EMBEDDED_ALIASES, embedded_commit, link_embedded_checkpoints
from farl_hf.checkpoints.hub_cache import content_commit, entry_folder, link_snapshot, read_snapshot

TINY = "farl-tiny-parsing"
NAMES = (*EMBEDDED_CHECKPOINTS, *EMBEDDED_ALIASES)
IMPORTED = "import farl_hf, huggingface_hub.utils"


def write_checkpoint(folder):
    folder.mkdir(parents=True)
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("of another version")
    return folder


def assert_all_are_ours():
    for name in NAMES:
        snapshot = read_snapshot(name)
        assert snapshot.name == embedded_commit(name)
        assert sorted(path.name for path in snapshot.iterdir()) == sorted(os.listdir(checkpoint(name)))
        for path in snapshot.iterdir():
            assert path.read_bytes() == (checkpoint(name) / path.name).read_bytes()


def test_the_stored_commits_are_those_of_the_files():
    computed = {name: content_commit(checkpoint(name)) for name in EMBEDDED_CHECKPOINTS}
    stored = {name: embedded_commit(name) for name in EMBEDDED_CHECKPOINTS}
    assert stored == computed, (
        "the files have changed: run `python -m farl_hf.checkpoints.packing` and commit the result"
    )


def test_all_names_get_entries_without_a_look_into_weights(hub_cache, monkeypatch):
    monkeypatch.setattr(hashlib, "file_digest", None)
    link_embedded_checkpoints()
    assert_all_are_ours()
    assert scan_cache_dir(hub_cache).warnings == []
    assert sum(path.lstat().st_size for path in hub_cache.rglob("*") if not path.is_dir()) < 20_000  # links


def test_entries_of_an_older_version_are_replaced(hub_cache, tmp_path):
    old = write_checkpoint(tmp_path / "old")
    link_snapshot(TINY, old, content_commit(old))
    link_embedded_checkpoints()
    assert_all_are_ours()
    assert [path.name for path in (entry_folder(TINY) / "snapshots").iterdir()] == [embedded_commit(TINY)]
    assert scan_cache_dir(hub_cache).warnings == []
    assert (old / "config.json").read_text() == "of another version"


def test_links_to_another_environment_are_replaced(hub_cache, tmp_path):
    """Made when that had this version; it has been upgraded since, in place."""
    link_snapshot(TINY, write_checkpoint(tmp_path / "elsewhere"), embedded_commit(TINY))
    link_embedded_checkpoints()
    assert_all_are_ours()


def test_links_to_an_environment_that_is_gone_are_replaced(hub_cache, tmp_path):
    folder = write_checkpoint(tmp_path / "elsewhere")
    link_snapshot(TINY, folder, embedded_commit(TINY))
    folder.rename(tmp_path / "gone")
    link_embedded_checkpoints()
    assert_all_are_ours()


@pytest.mark.parametrize("refused", [(), ("symlink",), ("symlink", "link")])
def test_entries_that_are_right_are_not_written_again(hub_cache, monkeypatch, refused):
    """Also on systems without links, where the entries are copies."""

    def refuse(*_, **__):
        raise OSError("not here")

    for name in refused:
        monkeypatch.setattr(os, name, refuse)
    link_embedded_checkpoints()
    assert_all_are_ours()
    for name in ("link_snapshot", "entry_lock"):
        monkeypatch.setattr(embedded_models, name, None)
    link_embedded_checkpoints()


def test_a_cache_that_cannot_be_written_gets_one_warning_and_the_way_out(hub_cache, caplog):
    hub_cache.parent.write_text("a file where the cache should be")
    link_embedded_checkpoints()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "farl_hf.checkpoint(" in record.getMessage()
    assert str(hub_cache) in record.getMessage()


def start(home, **environment):
    settings = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))}
    settings |= {"HF_HOME": str(home), **environment}
    command = [sys.executable, "-c", IMPORTED]
    return subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_importing_makes_them_offline_only(tmp_path):
    switches = {"online": {}, "hub": {"HF_HUB_OFFLINE": "1"}, "transformers": {"TRANSFORMERS_OFFLINE": "yes"}}
    processes = {name: start(tmp_path / name, **switch) for name, switch in switches.items()}
    for name, process in processes.items():
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, ""), name
    assert not (tmp_path / "online" / "hub").exists()
    entries = {f"models--{name}" for name in NAMES}
    for name in ("hub", "transformers"):
        assert {path.name for path in (tmp_path / name / "hub").glob("models--*")} == entries


def test_many_processes_make_them_at_once(hub_cache, tmp_path):
    """As the ranks of a training do, over the entries of an older version."""
    old = write_checkpoint(tmp_path / "old")
    for name in NAMES:
        link_snapshot(name, old, content_commit(old))
    for process in [start(hub_cache.parent, HF_HUB_OFFLINE="1") for _ in range(6)]:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    assert_all_are_ours()
    assert scan_cache_dir(hub_cache).warnings == []


def test_importing_survives_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "home").write_text("a file where the cache should be")
    process = start(tmp_path / "home", HF_HUB_OFFLINE="1")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert errors.count("farl_hf.checkpoint(") == 1
