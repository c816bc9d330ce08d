"""The cache as the Hub's own tools see it."""

import os
import shutil

import pytest
from huggingface_hub import constants, scan_cache_dir

from farl_hf.checkpoints.hub_cache import (
    alias_commit,
    content_commit,
    entry_folder,
    link_snapshot,
    read_snapshot,
    remove_dead_links,
    store_snapshot,
)

pytestmark = pytest.mark.usefixtures("hub_cache")


def write_checkpoint(folder, weights=b"weights"):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def stored(tmp_path):
    return store_snapshot("farl-ep64", write_checkpoint(tmp_path / "draft"))


def link_farl(folder):
    return link_snapshot("farl", folder, alias_commit("farl", folder.name))


def scan():
    return scan_cache_dir(constants.HF_HUB_CACHE)


def delete_from_cache(*commits):
    scan().delete_revisions(*commits).execute()


def test_what_is_stored_is_an_entry_like_any_other(stored, tmp_path):
    assert read_snapshot("farl-ep64") == stored
    assert not (tmp_path / "draft").exists()
    scanned = scan()
    assert scanned.warnings == []
    (repository,) = scanned.repos
    assert repository.repo_id == "farl-ep64"
    (revision,) = repository.revisions
    assert revision.commit_hash == stored.name
    assert revision.refs == {"main"}
    assert {file.file_name for file in revision.files} == {"config.json", "model.safetensors"}


def test_the_commit_says_what_is_in_the_files(tmp_path):
    first = content_commit(write_checkpoint(tmp_path / "a"))
    assert len(first) == 40
    assert set(first) <= set("0123456789abcdef")
    assert content_commit(write_checkpoint(tmp_path / "b")) == first
    assert content_commit(write_checkpoint(tmp_path / "c", b"other")) != first


def test_new_content_takes_the_place_of_the_old(stored, tmp_path):
    replacement = store_snapshot("farl-ep64", write_checkpoint(tmp_path / "draft", b"new"))
    assert read_snapshot("farl-ep64") == replacement != stored
    assert not stored.exists()
    assert scan().warnings == []


def test_the_same_content_can_be_stored_again(stored, tmp_path):
    (stored / "model.safetensors").unlink()
    assert store_snapshot("farl-ep64", write_checkpoint(tmp_path / "draft")) == stored
    assert (stored / "model.safetensors").read_bytes() == b"weights"


def test_an_alias_is_links_and_takes_no_room(stored):
    snapshot = link_farl(stored)
    assert read_snapshot("farl") == snapshot
    assert os.path.samefile(snapshot / "model.safetensors", stored / "model.safetensors")
    scanned = scan()
    assert scanned.warnings == []
    assert {repository.repo_id for repository in scanned.repos} == {"farl", "farl-ep64"}


def test_the_whole_cache_may_move(stored, hub_cache):
    snapshot = link_farl(stored)
    moved = hub_cache.rename(hub_cache.with_name("elsewhere"))
    assert (moved / snapshot.relative_to(hub_cache) / "config.json").read_text() == "{}"


def test_deleting_an_alias_leaves_what_it_points_to(stored):
    alias = link_farl(stored)
    delete_from_cache(alias.name)
    assert not entry_folder("farl").exists()
    assert read_snapshot("farl-ep64") == stored


def test_deleting_one_of_two_revisions_unlinks_no_foreign_file(tmp_path):
    """As when the Hub's client has copied the files of a newer package beside the links to those of an older one."""
    package = write_checkpoint(tmp_path / "package")
    commit = content_commit(package)
    link_snapshot("farl-tiny-parsing", package, commit)
    write_checkpoint(entry_folder("farl-tiny-parsing") / "snapshots" / ("0" * 40))
    delete_from_cache(commit)
    assert (package / "config.json").exists()
    assert (package / "model.safetensors").exists()
    assert [path.name for path in (entry_folder("farl-tiny-parsing") / "snapshots").iterdir()] == ["0" * 40]


def test_files_that_the_hubs_client_copied_are_completed(tmp_path):
    package = write_checkpoint(tmp_path / "package")
    commit = content_commit(package)
    copied = entry_folder("farl-tiny-parsing") / "snapshots" / commit
    copied.mkdir(parents=True)
    (copied / "config.json").write_text("{}")
    assert link_snapshot("farl-tiny-parsing", package, commit) == copied
    assert not (copied / "config.json").is_symlink()
    assert (copied / "model.safetensors").read_bytes() == b"weights"


def test_links_that_lead_nowhere_are_no_checkpoint_and_are_removed(stored):
    link_farl(stored)
    delete_from_cache(stored.name)
    assert read_snapshot("farl-ep64") is None
    assert read_snapshot("farl") is None
    remove_dead_links("farl")
    assert not entry_folder("farl").exists()
    assert scan().warnings == []


def test_parts_of_a_checkpoint_are_none(stored):
    (stored / "model.safetensors").unlink()
    assert read_snapshot("farl-ep64") is None


def test_where_links_are_not_to_be_had_files_are_shared_or_copied(stored, monkeypatch):
    def refuse(*_, **__):
        raise OSError("not here")

    monkeypatch.setattr(os, "symlink", refuse)
    snapshot = link_farl(stored)
    assert os.path.samefile(snapshot / "model.safetensors", stored / "model.safetensors")
    shutil.rmtree(entry_folder("farl"))
    monkeypatch.setattr(os, "link", refuse)
    snapshot = link_farl(stored)
    assert (snapshot / "model.safetensors").read_bytes() == b"weights"
    assert scan().warnings == []
