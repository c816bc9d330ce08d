import shutil
from types import SimpleNamespace

import pytest
from file_server import FileServer
from huggingface_hub import constants

from farl_hf.checkpoints import source_download
from farl_hf.checkpoints.source_download import download_file
from farl_hf.errors import DownloadError

CONTENT = bytes(range(256)) * 4000

pytestmark = pytest.mark.usefixtures("hub_cache")


@pytest.fixture
def server():
    return FileServer(CONTENT)


@pytest.fixture(autouse=True)
def waits(monkeypatch):
    """No time passes; the seconds that would have."""
    waited = []
    monkeypatch.setattr(source_download.time, "sleep", waited.append)
    return waited


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_its_progress_is_told(server, tmp_path):
    told = []
    with server.running() as address:
        path = download_file(address, tmp_path / "files" / "weights.pth", lambda *counts: told.append(counts))
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert leftovers(tmp_path / "files") == ["weights.pth"]


def test_a_dead_line_is_taken_up_where_it_broke(server, tmp_path, waits):
    server.faults = [300_000, 100_000]
    with server.running() as address:
        path = download_file(address, tmp_path / "weights.pth")
    assert path.read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=400000-"]
    assert waits == [1, 1]  # each try brought something


def test_a_later_run_goes_on_and_a_server_that_is_down_ends_it(server, tmp_path, waits):
    server.faults = [300_000, 503, 503, 503]
    with server.running() as address:
        with pytest.raises(DownloadError, match=r"the server answers 503; run the command again"):
            download_file(address, tmp_path / "weights.pth")
        assert waits == [1, 2, 4]
        assert leftovers(tmp_path) == ["weights.pth.etag", "weights.pth.part"]
        path = download_file(address, tmp_path / "weights.pth")
    assert path.read_bytes() == CONTENT
    assert server.ranges[-1] == "bytes=300000-"
    assert leftovers(tmp_path) == ["weights.pth"]


def test_the_beginning_of_another_content_is_thrown_away(server, tmp_path):
    server.faults = [300_000, 404]
    with server.running() as address:
        with pytest.raises(DownloadError, match="the server answers 404"):
            download_file(address, tmp_path / "weights.pth")
        server.content = bytes(reversed(CONTENT))[:500_000]
        assert download_file(address, tmp_path / "weights.pth").read_bytes() == server.content


def test_a_run_that_died_before_its_last_step_fetches_nothing_again(server, tmp_path):
    (tmp_path / "weights.pth.part").write_bytes(CONTENT)
    (tmp_path / "weights.pth.etag").write_text(server.etag)
    with server.running() as address:
        assert download_file(address, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_beginning_longer_than_the_file_is_thrown_away(server, tmp_path):
    (tmp_path / "weights.pth.part").write_bytes(CONTENT + b"too much")
    (tmp_path / "weights.pth.etag").write_text(server.etag)
    with server.running() as address:
        assert download_file(address, tmp_path / "weights.pth").read_bytes() == CONTENT


def test_a_beginning_of_unknown_content_is_not_continued(server, tmp_path):
    (tmp_path / "weights.pth.part").write_bytes(b"what is this")
    with server.running() as address:
        assert download_file(address, tmp_path / "weights.pth").read_bytes() == CONTENT
    assert server.ranges == [None]


def test_nobody_is_asked_offline(server, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with server.running() as address, pytest.raises(DownloadError, match="HF_HUB_OFFLINE"):
        download_file(address, tmp_path / "weights.pth")
    assert server.ranges == []


def test_a_server_that_cannot_be_reached_is_named(tmp_path, waits):
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/weights\.pth could not be fetched"):
        download_file("http://127.0.0.1:9/weights.pth", tmp_path / "weights.pth")
    assert waits == [1, 2, 4]


def test_a_full_disk_is_noticed_before_it_is_full(server, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    with server.running() as address, pytest.raises(DownloadError, match="No space left on device"):
        download_file(address, tmp_path / "weights.pth")
    assert not (tmp_path / "weights.pth").exists()
