"""Files and folders appear complete or not at all, whatever happens; what killed runs leave is removed."""

import contextlib
import errno
import logging
import multiprocessing
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from farl_hf.errors import ConversionError, FileWriteError, InvalidArgumentError
from farl_hf.whole_files import (
    files_written_whole,
    held_folder,
    read_or_set_aside,
    remove_left_over,
    write_json,
    write_picture,
    write_whole,
    written_whole,
)

KILLED = """
import os, signal, sys
from pathlib import Path
from farl_hf.whole_files import written_whole

with written_whole(Path(sys.argv[1])) as unfinished:
    unfinished.mkdir()
    (unfinished / "weights").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_unfinished(path):
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert done.returncode == -signal.SIGKILL


def test_json_is_replaced_whole_or_not_at_all(tmp_path):
    write_json(tmp_path / "faces.json", [1])
    with pytest.raises(TypeError):
        write_json(tmp_path / "faces.json", [object()])
    assert (tmp_path / "faces.json").read_text() == "[\n 1\n]\n"
    assert os.listdir(tmp_path) == ["faces.json"]


def fill_the_disk(path):
    with written_whole(path) as place:
        place.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("former", [None, b"former"])
def test_a_full_disk_leaves_what_was_there(tmp_path, former):
    path = tmp_path / "file"
    if former:
        path.write_bytes(former)
    with pytest.raises(FileWriteError, match="file could not be written: No space left") as raised:
        fill_the_disk(path)
    assert raised.value.__cause__.errno == errno.ENOSPC
    assert os.listdir(tmp_path) == (["file"] if former else [])
    assert not former or path.read_bytes() == former


def test_errors_of_safetensors_are_errors_of_the_disk(tmp_path):
    with pytest.raises(FileWriteError, match=r"x\.safetensors"), written_whole(tmp_path / "x.safetensors") as place:
        save_file({"a": np.zeros(3)}, place / "no folder")
    assert not os.listdir(tmp_path)


def test_cleaning_up_does_not_mask_the_cause(tmp_path, monkeypatch):
    def refuse(path, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(os, name, refuse)
    with pytest.raises(FileWriteError, match="No space left"):
        fill_the_disk(tmp_path / "file")
    with pytest.raises(KeyboardInterrupt), written_whole(tmp_path / "file"):
        raise KeyboardInterrupt


def test_a_folder_in_a_file_is_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileWriteError, match="could not be written"):
        write_whole(tmp_path / "file/below", b"")
    with pytest.raises(FileWriteError, match="could not be written"):
        write_whole(tmp_path / ("x" * 300), b"")


@pytest.mark.parametrize("name", ["x" * 255, "ü" * 127, "caf\udce9", "[a]*?"])
def test_long_and_odd_names(tmp_path, name):
    write_whole(tmp_path / name, b"whole")
    assert os.listdir(tmp_path) == [name]
    leave_unfinished(tmp_path / "folder" / name)
    assert len(os.listdir(tmp_path / "folder")) == 1
    remove_left_over(tmp_path / "folder" / name)
    assert not os.listdir(tmp_path / "folder")


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path):
    path = tmp_path / "checkpoint"
    leave_unfinished(path)
    (left_over,) = tmp_path.iterdir()
    with written_whole(path) as place:
        place.mkdir()
        remove_left_over(path)
        assert not left_over.exists()
        (place / "weights").write_bytes(b"whole")
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_living_process_keeps_its_folder_from_others(tmp_path):
    path = tmp_path / "checkpoint"
    code = (
        "import sys; from pathlib import Path; from farl_hf.whole_files import *; remove_left_over(Path(sys.argv[1]))"
    )
    with written_whole(path) as place:
        place.mkdir()
        subprocess.run([sys.executable, "-c", code, str(path)], check=True)
        (place / "weights").write_bytes(b"whole")
    assert (path / "weights").read_bytes() == b"whole"


def test_a_child_process_does_not_keep_the_locks_of_its_parent(tmp_path):
    context = multiprocessing.get_context("fork")
    with context.Manager() as manager:  # a process that outlives the block below
        stop = manager.Event()
        with held_folder(tmp_path):
            child = context.Process(target=stop.wait)
            child.start()
        with held_folder(tmp_path):  # though the child lives
            assert child.is_alive()
        stop.set()
        child.join()


def test_a_folder_that_was_moved_aside_comes_back(tmp_path):
    """A kill between the two renames of a replacement."""
    former = tmp_path / ".checkpoint.abcd.partial" / "former" / "checkpoint"
    former.mkdir(parents=True)
    (former / "config.json").write_text("{}")
    remove_left_over(tmp_path / "checkpoint")
    assert os.listdir(tmp_path) == ["checkpoint"]
    assert (tmp_path / "checkpoint/config.json").read_text() == "{}"


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_is_replaced_only_where_that_is_meant(tmp_path, overwrite):
    def write(content, overwrite):
        with written_whole(tmp_path / "folder", ConversionError, overwrite) as place:
            place.mkdir()
            (place / "file").write_text(content)

    write("1", overwrite)
    with contextlib.nullcontext() if overwrite else pytest.raises(ConversionError):
        write("2", overwrite)
    assert (tmp_path / "folder/file").read_text() == ("2" if overwrite else "1")
    assert os.listdir(tmp_path) == ["folder"]


@pytest.mark.parametrize("there", [True, False])
def test_behind_a_link_its_target_is_written(tmp_path, there):
    (tmp_path / "disk").mkdir()
    if there:
        (tmp_path / "disk/target.txt").write_text("former")
    (tmp_path / "link.json").symlink_to("disk/target.txt")
    with written_whole(tmp_path / "link.json") as place:
        assert place.suffix == ".json"
        place.write_text("new")
    assert (tmp_path / "link.json").is_symlink()
    assert (tmp_path / "disk/target.txt").read_text() == "new"
    assert [os.listdir(tmp_path / "disk"), sorted(os.listdir(tmp_path))] == [["target.txt"], ["disk", "link.json"]]


def test_a_picture_that_its_format_does_not_hold_is_no_fault_of_the_disk(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"JPEG holds no picture of 2 x 70000 pixels \(at most 65,500"):
        write_picture(tmp_path / "long.jpg", Image.new("RGB", (2, 70_000)))
    write_picture(tmp_path / "long.png", Image.new("RGB", (2, 70_000)))
    assert os.listdir(tmp_path) == ["long.png"]


def test_a_run_removes_what_killed_runs_left_in_its_folder(tmp_path):
    leave_unfinished(tmp_path / "photo.jpg")
    leave_unfinished(tmp_path / "checkpoint-4" / "model.safetensors")
    others = [tmp_path / ".rsync.partial", tmp_path / ".hidden", tmp_path / "a" / "b" / ".c.12345678.partial"]
    for folder in others:
        folder.mkdir(parents=True)
    with written_whole(tmp_path / "living") as place:
        place.write_bytes(b"whole")
        with held_folder(tmp_path):
            assert place.exists()
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(
        [".rsync.partial", ".hidden", "a", "b", ".c.12345678.partial", "living", "checkpoint-4"]
    )


def test_several_files_arrive_whole_the_weights_last(tmp_path, monkeypatch):
    def write(content):
        with files_written_whole(tmp_path / "folder") as place:
            for name in ("a.safetensors", "config.json", "z.bin"):
                (place / name).write_text(content)
            if content == "fault":
                raise OSError(errno.ENOSPC, "No space left on device")

    moved, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (moved.append(new.name), replace(old, new)))
    write("1")
    assert moved == ["config.json", "z.bin", "a.safetensors"]
    with pytest.raises(FileWriteError, match="No space left"):
        write("fault")
    assert {path.name: path.read_text() for path in (tmp_path / "folder").iterdir()} == dict.fromkeys(moved, "1")


def test_one_run_at_a_time(tmp_path):
    with held_folder(tmp_path), pytest.raises(InvalidArgumentError, match="Another run"), held_folder(tmp_path):
        pass
    with held_folder(tmp_path):
        pass


@pytest.mark.parametrize("content", [b'{"a": ', b"", b"\xff", b"[1]", b"3"])
def test_a_broken_file_is_set_aside_with_a_warning(tmp_path, content, caplog):
    path = tmp_path / "results.json"
    for number in range(2):
        path.write_bytes(content)
        with caplog.at_level(logging.WARNING):
            assert read_or_set_aside(path, dict) is None
        assert not path.exists()
        assert (tmp_path / f"results.json.broken{number or ''}").read_bytes() == content
    assert "results.json.broken" in caplog.text


def test_a_sound_file_is_read_and_a_missing_one_is_none(tmp_path):
    write_json(tmp_path / "results.json", {"a": "ä"})
    assert read_or_set_aside(tmp_path / "results.json", dict) == {"a": "ä"}
    assert read_or_set_aside(tmp_path / "missing.json", dict) is None
