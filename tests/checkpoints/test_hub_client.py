"""The client in front of the Hub's: what it answers, and that everything else passes through untouched."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from huggingface_hub import HfApi, constants, get_session, hf_hub_download, set_client_factory, snapshot_download
from huggingface_hub.errors import (
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import httpx
from transformers import pipeline

from farl_hf import checkpoint
from farl_hf.checkpoints.checkpoint_download import download_checkpoint
from farl_hf.checkpoints.hub_cache import entry_folder, read_snapshot
from farl_hf.checkpoints.hub_client import install_hub_client
from farl_hf.errors import NotDownloadedError, UnknownNameError

TINY = "farl-tiny-parsing"


@pytest.fixture
def forwarded(hub_cache):
    """Our client around one whose requests land in this list; the earlier factory is put back afterwards."""
    requests = []

    def answer(request):
        requests.append(request)
        if request.url.path == "/moved":
            return httpx.Response(302, headers={"Location": "https://elsewhere.example/file"})
        return httpx.Response(200, headers={"X-From": "the inner client"}, content=b"inner")

    def refuse_offline(request):
        if constants.HF_HUB_OFFLINE:
            raise OfflineModeIsEnabled("offline")
        request.headers["X-Hook"] = "ran"

    def factory():
        return httpx.Client(
            transport=httpx.MockTransport(answer),
            headers={"X-Corporate": "proxy"},
            auth=("user", "secret"),
            follow_redirects=True,
            event_hooks={"request": [refuse_offline]},
        )

    before = set_client_factory.__globals__["_GLOBAL_CLIENT_FACTORY"]
    set_client_factory(factory)
    install_hub_client()
    yield requests
    set_client_factory(before)


def asked_about_farl(requests):
    """The Hub's client also asks for things of its own, such as notices."""
    return [str(request.url) for request in requests if "farl" in str(request.url)]


def get(path, **settings):
    return get_session().get(f"{constants.ENDPOINT}/{path}", **settings)


def test_the_name_is_a_model_of_the_hub(forwarded):
    info = HfApi().model_info(TINY)
    assert len(info.sha) == 40
    assert info.pipeline_tag == "face-parsing"
    assert info.library_name == "transformers"
    assert HfApi().repo_exists(TINY)
    assert HfApi().model_info(TINY, revision=info.sha).sha == info.sha
    files = {path.name for path in checkpoint(TINY).iterdir()}
    assert set(HfApi().list_repo_files(TINY)) == files
    assert {entry.path: entry.size for entry in HfApi().list_repo_tree(TINY)} == {
        name: (checkpoint(TINY) / name).stat().st_size for name in files
    }
    assert HfApi().file_exists(TINY, "config.json")
    assert not HfApi().file_exists(TINY, "vocab.json")
    assert asked_about_farl(forwarded) == []


def test_files_arrive_as_they_are(forwarded):
    path = hf_hub_download(TINY, "model.safetensors")
    with open(path, "rb") as file:
        assert file.read() == (checkpoint(TINY) / "model.safetensors").read_bytes()
    with pytest.raises(RemoteEntryNotFoundError, match=f"{TINY} has no file vocab.json"):
        hf_hub_download(TINY, "vocab.json")
    assert asked_about_farl(forwarded) == []


@pytest.mark.parametrize(("asked", "expected"), [("bytes=5-9", slice(5, 10)), ("bytes=7-", slice(7, None))])
def test_ranges(forwarded, asked, expected):
    content = (checkpoint(TINY) / "config.json").read_bytes()
    response = get(f"{TINY}/resolve/main/config.json", headers={"Range": asked})
    assert response.status_code == 206
    assert response.content == content[expected]
    assert response.headers["Content-Range"].endswith(f"/{len(content)}")
    assert get_session().head(f"{constants.ENDPOINT}/{TINY}/resolve/main/config.json").headers["ETag"]


def test_a_revision_that_does_not_exist_is_refused(forwarded):
    with pytest.raises(RevisionNotFoundError, match=f"{TINY} has no revision v9"):
        hf_hub_download(TINY, "config.json", revision="v9")
    with pytest.raises(RemoteEntryNotFoundError):
        list(HfApi().list_repo_tree(TINY, path_in_repo="additional_chat_templates"))


def test_a_name_that_is_not_downloaded_says_how_to(forwarded, monkeypatch):
    for ask in (lambda: hf_hub_download("farl", "config.json"), lambda: snapshot_download("farl")):
        with pytest.raises(NotDownloadedError, match="farl-hf download farl"):
            ask()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotDownloadedError, match="farl-hf download farl"):
        snapshot_download("farl")
    assert asked_about_farl(forwarded) == []


def test_a_misspelt_name_is_answered_with_the_nearest_one(forwarded):
    for name in ("farl-tiny-parsin", "farl_tiny_parsing", "FaRL-tiny-parsing"):
        with pytest.raises(UnknownNameError, match="Did you mean 'farl-tiny-parsing'"):
            hf_hub_download(name, "config.json")
    with pytest.raises(OSError, match="Did you mean 'farl-tiny-parsing'"):  # as Transformers words it
        pipeline("face-parsing", model="farl-tiny-parsin")
    assert asked_about_farl(forwarded) == []


def test_what_is_in_the_cache_is_not_copied(forwarded, quick_conversion, tmp_path):
    (tmp_path / "source.pth").write_bytes(b"weights")
    download_checkpoint("farl", tmp_path / "source.pth")
    for name in ("farl-ep64", "farl"):
        assert snapshot_download(name) == str(read_snapshot(name))
        assert hf_hub_download(name, "config.json") == str(read_snapshot(name) / "config.json")
    assert not (entry_folder("farl-ep64") / "blobs").exists()
    assert all(blob.is_symlink() for blob in (entry_folder("farl") / "blobs").iterdir())


def test_an_alias_whose_entry_was_deleted_is_linked_again(forwarded, quick_conversion, tmp_path):
    (tmp_path / "source.pth").write_bytes(b"weights")
    download_checkpoint("farl", tmp_path / "source.pth")
    entry_folder("farl").rename(tmp_path / "deleted")
    snapshot_download("farl")
    assert all(blob.is_symlink() for blob in (entry_folder("farl") / "blobs").iterdir())


def test_an_alias_is_linked_by_many_threads_at_once(forwarded, quick_conversion, tmp_path):
    (tmp_path / "source.pth").write_bytes(b"weights")
    download_checkpoint("farl", tmp_path / "source.pth")
    shutil.rmtree(entry_folder("farl"))
    with ThreadPoolExecutor(8) as threads:
        paths = set(threads.map(lambda _: hf_hub_download("farl", "model.safetensors"), range(32)))
    assert paths == {str(read_snapshot("farl") / "model.safetensors")}
    assert all(blob.is_symlink() for blob in (entry_folder("farl") / "blobs").iterdir())


def test_an_alias_whose_model_was_deleted_says_how_to_get_it_back(forwarded, quick_conversion, tmp_path):
    (tmp_path / "source.pth").write_bytes(b"weights")
    download_checkpoint("farl", tmp_path / "source.pth")
    entry_folder("farl-ep64").rename(tmp_path / "deleted")
    with pytest.raises(NotDownloadedError, match="farl-hf download farl"):
        hf_hub_download("farl", "config.json")
    assert not entry_folder("farl").exists()


def test_offline_mode_holds_and_the_cache_answers(forwarded, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(LocalEntryNotFoundError):
        snapshot_download(TINY)
    linked = download_checkpoint(TINY)
    assert snapshot_download(TINY) == str(linked)
    assert HfApi().repo_exists(TINY)  # AutoBackbone asks it first


@pytest.mark.parametrize(
    "path",
    [
        "api/models/google/farl",
        "api/models/farl/else",
        "api/models/farl-ep64-mine",
        "api/datasets/farl",
        "google/farl/resolve/main/config.json",
        "gpt2/resolve/main/config.json",
        "datasets/farl/resolve/main/config.json",
        "api/whoami-v2",
    ],
)
def test_other_requests_pass_through(forwarded, path):
    response = get(path, headers={"X-Mine": "kept"}, params={"q": "1"})
    assert response.content == b"inner"
    (request,) = forwarded
    assert str(request.url) == f"{constants.ENDPOINT}/{path}?q=1"
    assert request.headers["X-Mine"] == "kept"
    assert request.headers["X-Corporate"] == "proxy"
    assert request.headers["X-Hook"] == "ran"
    assert request.headers["Authorization"].startswith("Basic ")


def test_our_names_on_another_server_pass_through(forwarded):
    response = get_session().get("https://hub.example/farl/resolve/main/config.json")
    assert response.headers["X-From"] == "the inner client"


def test_writing_to_our_names_passes_through(forwarded):
    get_session().post(f"{constants.ENDPOINT}/api/models/farl/commit/main", content=b"x")
    assert [request.method for request in forwarded] == ["POST"]


def test_redirects_are_followed_without_the_password(forwarded):
    assert get("moved").content == b"inner"
    assert [str(request.url) for request in forwarded] == [
        f"{constants.ENDPOINT}/moved",
        "https://elsewhere.example/file",
    ]
    assert "Authorization" not in forwarded[1].headers
    assert get("moved", follow_redirects=False).status_code == 302


def test_streams_pass_through(forwarded):
    with get_session().stream("GET", "https://elsewhere.example/large") as response:
        assert b"".join(response.iter_bytes()) == b"inner"


def test_installing_twice_wraps_once(forwarded):
    factory = set_client_factory.__globals__["_GLOBAL_CLIENT_FACTORY"]
    install_hub_client()
    assert set_client_factory.__globals__["_GLOBAL_CLIENT_FACTORY"] is factory


WITHOUT = """
import huggingface_hub
from huggingface_hub.utils import httpx
default = huggingface_hub.set_client_factory.__globals__["_GLOBAL_CLIENT_FACTORY"]
import farl_hf
assert huggingface_hub.set_client_factory.__globals__["_GLOBAL_CLIENT_FACTORY"] is default
"""
LATER = """
import huggingface_hub
from huggingface_hub.utils import httpx
client = httpx.Client()
huggingface_hub.set_client_factory(lambda: client)
import transformers.models.auto.modeling_auto
assert huggingface_hub.get_session() is client
"""
ORDERS = {
    "the Hub first": "import huggingface_hub, farl_hf",
    "farl_hf first": "import farl_hf; import huggingface_hub",
    "one function": "import farl_hf; from huggingface_hub import get_session",
    "a constant": "import farl_hf; from huggingface_hub.constants import HF_HOME",
}
INSTALLED = """
from huggingface_hub import get_session, set_client_factory
factory = set_client_factory.__globals__["_GLOBAL_CLIENT_FACTORY"]
assert type(factory).__module__ == "farl_hf.checkpoints.hub_client", factory
"""


def run(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_environment_can_forbid_it():
    finished = run(WITHOUT, FARL_HF_NO_HUB_CLIENT="1")
    assert finished.returncode == 0, finished.stderr
    assert run(WITHOUT).returncode == 1


def test_it_is_installed_with_transformers_between_and_a_factory_that_is_set_later_is_left_alone():
    finished = run("import farl_hf; from transformers import AutoConfig" + INSTALLED + LATER)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize("order", ORDERS)
def test_it_is_installed_in_every_order_of_imports(order):
    finished = run(ORDERS[order] + INSTALLED)
    assert finished.returncode == 0, finished.stderr


def test_importing_the_package_alone_loads_no_client():
    finished = run("import sys, farl_hf; assert not {'huggingface_hub', 'httpx', 'httpx2'} & set(sys.modules)")
    assert finished.returncode == 0, finished.stderr


def test_the_client_loads_no_framework():
    finished = run(
        "import sys, farl_hf, huggingface_hub.utils; assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    assert finished.returncode == 0, finished.stderr
