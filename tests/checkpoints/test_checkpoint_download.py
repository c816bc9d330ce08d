"""From a file, here or on a server, to a checkpoint in the cache; with all that can go wrong on the way."""

import errno
import hashlib
import importlib.util
import json
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from file_server import FileServer
from huggingface_hub import constants, scan_cache_dir

from farl_hf import checkpoint, conversion
from farl_hf.checkpoints import OFFICIAL_MODELS, checkpoint_download
from farl_hf.checkpoints.checkpoint_download import download_checkpoint
from farl_hf.checkpoints.hub_cache import entry_folder, read_snapshot, unfinished_folder
from farl_hf.conversion.checkpoint_folders import complete_folder
from farl_hf.errors import ConversionError, DownloadError, MissingExtraError, NotDownloadedError, UnknownNameError

NAME = "retinaface-mobilenet"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.pth"
    path.write_bytes(b"published weights")
    return path


@pytest.fixture
def server(monkeypatch):
    """A server that has the file of `NAME`."""
    served = FileServer(b"published weights")
    with served.running() as address:
        monkeypatch.setitem(OFFICIAL_MODELS, NAME, replace(OFFICIAL_MODELS[NAME], address=address))
        yield served


def weights_of(name):
    return (checkpoint(name) / "model.safetensors").read_bytes()


def test_a_file_at_hand_becomes_a_checkpoint(hub_cache, quick_conversion, source):
    folder = download_checkpoint(NAME, source)
    assert quick_conversion == [NAME]
    assert folder == checkpoint(NAME)
    assert weights_of(NAME) == b"published weights"
    assert source.exists()
    assert not unfinished_folder(NAME).exists()
    assert scan_cache_dir(hub_cache).warnings == []


def test_an_alias_and_its_name_are_one_checkpoint(hub_cache, quick_conversion, source):
    download_checkpoint("farl", source)
    assert quick_conversion == ["farl-ep64"]
    assert checkpoint("farl") == checkpoint("farl-ep64")
    assert read_snapshot("farl") != read_snapshot("farl-ep64")
    download_checkpoint("farl-ep64")
    assert len(quick_conversion) == 1
    assert sorted(repository.repo_id for repository in scan_cache_dir(hub_cache).repos) == ["farl", "farl-ep64"]


def test_an_alias_follows_a_new_conversion(hub_cache, quick_conversion, source):
    download_checkpoint("farl", source)
    source.write_bytes(b"newer weights")
    download_checkpoint("farl", source, force=True, trust=True)
    assert (read_snapshot("farl") / "model.safetensors").read_bytes() == b"newer weights"
    assert scan_cache_dir(hub_cache).warnings == []


def test_embedded_models_are_linked(hub_cache):
    snapshot = download_checkpoint("farl-tiny-parsing")
    assert snapshot == read_snapshot("farl-tiny-parsing")
    assert (snapshot / "model.safetensors").samefile(checkpoint("farl-tiny-parsing") / "model.safetensors")


def test_a_file_is_fetched_once_and_not_kept(hub_cache, quick_conversion, server):
    download_checkpoint(NAME)
    download_checkpoint(NAME)
    assert weights_of(NAME) == b"published weights"
    assert len(server.ranges) == 1
    assert not unfinished_folder(NAME).exists()


def test_a_kept_file_is_used_again(hub_cache, quick_conversion, server):
    download_checkpoint(NAME, keep_source=True)
    download_checkpoint(NAME, keep_source=True, force=True)
    assert len(quick_conversion) == 2
    assert len(server.ranges) == 1
    assert scan_cache_dir(hub_cache).warnings == []


def test_a_kept_file_outlives_the_next_run(hub_cache, quick_conversion, server):
    download_checkpoint(NAME, keep_source=True)
    download_checkpoint(NAME)
    assert (unfinished_folder(NAME) / OFFICIAL_MODELS[NAME].file_name).is_file()


@pytest.mark.parametrize("step", ["removes the file", "records it"])
def test_what_a_run_killed_at_its_end_left_is_tidied_up(hub_cache, quick_conversion, server, step, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*args):
        raise Killed

    unlink = Path.unlink
    with monkeypatch.context() as killed:
        if step == "removes the file":
            name = OFFICIAL_MODELS[NAME].file_name
            killed.setattr(Path, "unlink", lambda path, **rest: kill() if path.name == name else unlink(path, **rest))
        else:
            killed.setattr(checkpoint_download, "record_sha256", kill)
        killed.setattr(checkpoint_download, "_remove_empty_folders", lambda name: None)
        with pytest.raises(Killed):
            download_checkpoint(NAME)
    assert (unfinished_folder(NAME) / OFFICIAL_MODELS[NAME].file_name).exists() == (step == "removes the file")
    assert unfinished_folder(NAME).exists()
    download_checkpoint(NAME)
    assert len(quick_conversion) == len(server.ranges) == 1
    assert not unfinished_folder(NAME).exists()
    record = json.loads((Path(constants.HF_HOME) / "farl_hf" / "sources" / f"{NAME}.json").read_text())
    assert record["sha256"] == hashlib.sha256(b"published weights").hexdigest()


def test_what_cannot_be_fetched_names_the_way_around(hub_cache, server):
    server.faults = [404]
    with pytest.raises(DownloadError, match=rf"answers 404.*farl-hf download {NAME} --from mobilenet0.25_Final.pth"):
        download_checkpoint(NAME)
    assert not entry_folder(NAME).exists()


def test_offline_fails_at_once_in_one_line(hub_cache, server, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError) as caught:
        download_checkpoint(NAME)
    assert "\n" not in str(caught.value)
    assert OFFICIAL_MODELS[NAME].address in str(caught.value)
    assert f"farl-hf download {NAME} --from" in str(caught.value)
    assert server.ranges == []


def test_a_missing_extra_is_told_before_anything_is_fetched(hub_cache, quick_conversion, server, monkeypatch):
    monkeypatch.setitem(OFFICIAL_MODELS, "farl-ep64", OFFICIAL_MODELS[NAME])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'farl-hf\[convert\]'"):
        download_checkpoint("farl")
    assert server.ranges == []
    assert not entry_folder("farl-ep64").exists()


def test_the_first_file_that_converts_is_the_measure(hub_cache, quick_conversion, source):
    download_checkpoint(NAME, source)
    record = json.loads((hub_cache.parent / "farl_hf/sources" / f"{NAME}.json").read_text())
    source.write_bytes(b"other weights")
    entry_folder(NAME).rename(hub_cache / "models--gone")
    with pytest.raises(DownloadError) as caught:
        download_checkpoint(NAME, source)
    assert record["sha256"] in str(caught.value)
    assert hashlib.sha256(b"other weights").hexdigest() in str(caught.value)
    with pytest.raises(DownloadError, match="--trust"):
        download_checkpoint(NAME, source, force=True)
    assert read_snapshot(NAME) is None
    download_checkpoint(NAME, source, trust=True)
    assert weights_of(NAME) == b"other weights"


def test_another_file_takes_the_place_of_what_is_here_only_when_trusted(hub_cache, quick_conversion, source):
    folder = download_checkpoint(NAME, source)
    assert download_checkpoint(NAME, source) == folder
    assert len(quick_conversion) == 1
    other = source.with_name("other.pth")
    other.write_bytes(b"other weights")
    with pytest.raises(DownloadError, match=hashlib.sha256(b"other weights").hexdigest()):
        download_checkpoint(NAME, other)
    assert read_snapshot(NAME) == folder
    assert download_checkpoint(NAME, other, trust=True) != folder
    assert weights_of(NAME) == b"other weights"
    assert download_checkpoint(NAME) == read_snapshot(NAME)
    assert len(quick_conversion) == 2
    with pytest.raises(DownloadError, match="no file that can be read"):
        download_checkpoint(NAME, source.with_name("nothing.pth"))


def test_the_advice_names_what_was_given(hub_cache, quick_conversion, source, server):
    download_checkpoint(NAME, source)
    server.content = b"other weights"
    with pytest.raises(DownloadError, match=rf"`farl-hf download {NAME} --force --keep-source --trust`"):
        download_checkpoint(NAME, force=True, keep_source=True)
    source.write_bytes(b"other weights")
    with pytest.raises(DownloadError, match=rf"`farl-hf download {NAME} --from {source} --trust`"):
        download_checkpoint(NAME, source)


def test_a_known_checksum_of_a_release_is_the_measure(hub_cache, quick_conversion, source, monkeypatch):
    of_release = hashlib.sha256(b"the release").hexdigest()
    row = replace(conversion.RELEASED_MODELS[NAME], sha256=of_release)
    monkeypatch.setitem(conversion.RELEASED_MODELS, NAME, row)
    with pytest.raises(DownloadError, match=of_release):
        download_checkpoint(NAME, source)
    source.write_bytes(b"the release")
    download_checkpoint(NAME, source)
    assert weights_of(NAME) == b"the release"


def test_a_fetched_file_that_differs_is_not_taken_again(hub_cache, quick_conversion, server):
    download_checkpoint(NAME)
    server.content = b"damaged on the way"
    entry_folder(NAME).rename(hub_cache / "models--gone")
    with pytest.raises(DownloadError, match="sha256"):
        download_checkpoint(NAME)
    server.content = b"published weights"
    download_checkpoint(NAME)
    assert weights_of(NAME) == b"published weights"


def test_a_fetched_file_that_does_not_convert_is_not_taken_again(hub_cache, server, monkeypatch, request):
    def refuse(*_, **__):
        raise ConversionError("a page of a hotel's network")

    monkeypatch.setattr(conversion, "convert_checkpoint", refuse)
    with pytest.raises(ConversionError):
        download_checkpoint(NAME)
    request.getfixturevalue("quick_conversion")
    download_checkpoint(NAME)
    assert len(server.ranges) == 2


def test_what_is_here_needs_no_writing(hub_cache, quick_conversion, source, monkeypatch):
    folder = download_checkpoint("farl", source)

    def refuse(*_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "mkdir", refuse)
    assert download_checkpoint("farl") == folder
    with pytest.raises(DownloadError, match=r"Read-only file system.*HF_HOME"):
        download_checkpoint("farl", source, force=True)


def test_a_file_that_does_not_convert_leaves_nothing(hub_cache, source, monkeypatch):
    def refuse(source, output, **_):
        output.mkdir()
        (output / "config.json").write_text("{}")
        raise ConversionError("no FaRL")

    monkeypatch.setattr(conversion, "convert_checkpoint", refuse)
    with pytest.raises(ConversionError, match="no FaRL"):
        download_checkpoint(NAME, source)
    assert not entry_folder(NAME).exists()
    with pytest.raises(NotDownloadedError):
        checkpoint(NAME)
    assert not (hub_cache.parent / "farl_hf").exists()  # a wrong file is no measure


def test_a_full_disk_is_one_sentence_and_costs_no_second_download(hub_cache, server, monkeypatch, request):
    def fill(source, output, **_):
        with complete_folder(output):
            raise OSError(errno.ENOSPC, "No space left on device", "weights")

    monkeypatch.setattr(conversion, "convert_checkpoint", fill)
    with pytest.raises(DownloadError, match=rf"{NAME} cannot be stored: it is full \(weights\).*HF_HOME"):
        download_checkpoint(NAME)
    assert read_snapshot(NAME) is None
    request.getfixturevalue("quick_conversion")
    download_checkpoint(NAME)
    assert len(server.ranges) == 1


def test_a_cache_that_cannot_be_written_is_one_sentence(hub_cache, source):
    hub_cache.parent.mkdir()
    hub_cache.write_text("a file where the cache should be")
    with pytest.raises(DownloadError, match=rf"{NAME} cannot be stored: .*HF_HOME"):
        download_checkpoint(NAME, source)


def test_unknown_names_and_missing_files_are_refused(hub_cache, tmp_path):
    with pytest.raises(UnknownNameError, match="farl-lapa-448"):
        download_checkpoint("farl-lapa")
    with pytest.raises(DownloadError, match="no file that can be read"):
        download_checkpoint(NAME, tmp_path / "nothing.pth")


def test_what_a_killed_process_left_is_swept(hub_cache, quick_conversion, source):
    for stale in ("converting-1", ".converting-2.ab.partial"):
        (unfinished_folder(NAME) / stale).mkdir(parents=True)
        (unfinished_folder(NAME) / stale / "config.json").write_text("{}")
    assert read_snapshot(NAME) is None
    download_checkpoint(NAME, source)
    assert not unfinished_folder(NAME).exists()


def _convert_slowly(cache, source, conversions, started, killed):
    """Runs in a process of its own."""
    constants.HF_HUB_CACHE = constants.HF_HOME = str(cache)

    def convert(source, output, **_):
        conversions.put(output)
        output.mkdir()
        (output / "config.json").write_text("{}")
        started.set()
        if killed:
            signal.pause()
        record = {"source": {"sha256": hashlib.sha256(source.read_bytes()).hexdigest()}}
        (output / "conversion.json").write_text(json.dumps(record))
        (output / "model.safetensors").write_bytes(source.read_bytes())

    checkpoint_download.conversion.convert_checkpoint = convert
    download_checkpoint(NAME, source)


@pytest.mark.parametrize("killed", [False, True])
def test_of_two_processes_the_second_finds_what_the_first_made_or_makes_it(hub_cache, source, killed):
    fork = multiprocessing.get_context("fork")
    conversions, started = fork.Queue(), fork.Event()
    first = fork.Process(target=_convert_slowly, args=(hub_cache, source, conversions, started, killed))
    first.start()
    assert started.wait(30)
    second = fork.Process(target=_convert_slowly, args=(hub_cache, source, conversions, fork.Event(), False))
    second.start()
    if killed:
        first.kill()
    for process in (first, second):
        process.join(30)
    assert (first.exitcode, second.exitcode) == ((-signal.SIGKILL, 0) if killed else (0, 0))
    assert weights_of(NAME) == b"published weights"
    made = [conversions.get(timeout=5)] + ([conversions.get(timeout=5)] if killed else [])
    assert conversions.empty()
    assert len(made) == 1 + killed
    assert not unfinished_folder(NAME).exists()
