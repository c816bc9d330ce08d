"""Lets the Hugging Face Hub's client find our names: `from_pretrained("farl")` from any folder.

`huggingface_hub.set_client_factory` is the Hub's own hook. The client set here answers requests for our names from the
files on this machine and hands every other request, unchanged, to the client that would have been used without it.
`FARL_HF_NO_HUB_CLIENT=1` in the environment prevents it. A factory that is set later replaces this one.
"""

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import unquote

from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils import httpx

from farl_hf.checkpoints.checkpoint_names import (
    ALIASES,
    KNOWN_NAMES,
    OFFICIAL_MODELS,
    checkpoint,
    link_aliases,
    resolve_name,
)
from farl_hf.checkpoints.embedded_models import EMBEDDED_CHECKPOINTS, embedded_commit
from farl_hf.checkpoints.hub_cache import alias_commit, file_etag, relative_files
from farl_hf.errors import unknown_name

_logger = logging.getLogger(__name__)

_OPT_OUT = "FARL_HF_NO_HUB_CLIENT"
_NAME = "(?P<name>[^/]+)"  # without its owner, as ours and few others have it
_REVISION = "(?P<revision>[^/]+)"
_CHUNK_BYTES = 1 << 20
_ALIKE = 0.8  # from 0 to 1, see `difflib.SequenceMatcher.ratio`; no model of the Hub without an owner comes near


def install_hub_client() -> None:
    """Put our client in front of the one in use, once."""
    if os.environ.get(_OPT_OUT, "").upper() in constants.ENV_VARS_TRUE_VALUES:
        return
    # huggingface_hub has a setter and no getter; a factory that somebody set must not be lost.
    inner_factory = set_client_factory.__globals__.get("_GLOBAL_CLIENT_FACTORY")
    if inner_factory is None:
        _logger.warning(
            "This version of huggingface_hub hides its client factory, so bare names of farl_hf are not resolved "
            "online; use farl_hf.checkpoint(name)."
        )
    elif not isinstance(inner_factory, _ClientFactory):
        set_client_factory(_ClientFactory(inner_factory))


class _ClientFactory:
    """Makes a client around the one that another factory makes."""

    def __init__(self, inner_factory):
        self.inner_factory = inner_factory

    def __call__(self) -> httpx.Client:
        inner = self.inner_factory()
        # What a client adds to a request when it builds it must come from the inner client; its hooks run there.
        return httpx.Client(
            transport=CheckpointTransport(inner),
            headers=inner.headers,
            cookies=inner.cookies,
            params=inner.params,
            auth=inner.auth,
            base_url=inner.base_url,
            timeout=inner.timeout,
            follow_redirects=inner.follow_redirects,
            max_redirects=inner.max_redirects,
        )


class CheckpointTransport(httpx.BaseTransport):
    """Answers what the Hub would be asked about our names; sends the rest through a client."""

    def __init__(self, inner: httpx.Client):
        self.inner = inner

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """
        Answer or forward a request.

        Raises:
            NotDownloadedError: It is about one of our names, whose weights are not here.
            UnknownNameError: It is about a name that looks like one of ours; without network, it would be tried often.
        """
        for pattern, answer in _ANSWERS:
            match = pattern.fullmatch(_path_below_endpoint(request.url))
            if match and request.method in ("GET", "HEAD"):
                if match["name"] in KNOWN_NAMES:
                    return self._answer(request, answer, **match.groupdict())
                if get_close_matches(match["name"].lower(), KNOWN_NAMES, n=1, cutoff=_ALIKE):
                    raise unknown_name("checkpoint", match["name"], KNOWN_NAMES)
        return self.inner.send(request, stream=True, auth=None, follow_redirects=False)

    def _answer(self, request: httpx.Request, answer, name: str, revision: str | None = None, **place: str):
        with contextlib.suppress(OSError):
            link_aliases(resolve_name(name))  # so that an alias is never copied into the cache
        folder = checkpoint(name)
        # Whether a repository exists is known offline too; Transformers' AutoBackbone asks that before anything else.
        for hook in () if answer is _model_info and revision is None else self.inner.event_hooks["request"]:
            hook(request)  # raises in offline mode, where the Hub's client then looks into its cache
        commit = _commit(name, folder)
        if revision not in (None, constants.DEFAULT_REVISION, commit):
            return _refusal("RevisionNotFound", f"{name} has no revision {revision}.")
        return answer(request, name, folder, commit, **place)

    def close(self) -> None:
        """Close the inner client."""
        self.inner.close()


def _path_below_endpoint(url: httpx.URL) -> str:
    """The decoded path after the Hub's address; empty for other servers, whose repositories are not our names."""
    address = str(url.copy_with(query=None, fragment=None))
    endpoint = constants.ENDPOINT.rstrip("/") + "/"
    return unquote(address.removeprefix(endpoint)) if address.startswith(endpoint) else ""


def _model_info(request, name: str, folder: Path, commit: str) -> httpx.Response:
    resolved = resolve_name(name)
    task = EMBEDDED_CHECKPOINTS.get(resolved) or OFFICIAL_MODELS[resolved].task
    about = {
        "_id": commit[:24],
        "id": name,
        "modelId": name,
        "sha": commit,
        "private": False,
        "gated": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "library_name": "transformers",
        "pipeline_tag": task,
        "siblings": [{"rfilename": relative} for relative in relative_files(folder)],
    }
    return httpx.Response(200, json=about)


def _tree(request, name: str, folder: Path, commit: str, path: str | None) -> httpx.Response:
    """The files below a path; all our folders are flat, so a recursive listing is the same."""
    prefix = f"{path.strip('/')}/" if path else ""
    files = [relative for relative in relative_files(folder) if relative.startswith(prefix)]
    if prefix and not files:
        return _refusal("EntryNotFound", f"{name} has no folder {path}.", commit)
    entries = [
        {
            "type": "file",
            "path": relative,
            "size": (folder / relative).stat().st_size,
            "oid": file_etag(commit, relative),
        }
        for relative in files
    ]
    return httpx.Response(200, json=entries)


def _file(request, name: str, folder: Path, commit: str, path: str) -> httpx.Response:
    if path not in relative_files(folder):
        return _refusal("EntryNotFound", f"{name} has no file {path}.", commit)
    size = (folder / path).stat().st_size
    headers = {"ETag": f'"{file_etag(commit, path)}"', "X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
    # Clients of the Hub resume with `bytes=100-` and read headers of weights with `bytes=0-99`.
    asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
    start = min(int(asked[1]), size) if asked else 0
    end = min(int(asked[2]) + 1, size) if asked and asked[2] else size
    headers |= {"Content-Length": str(end - start)}
    if asked:
        headers |= {"Content-Range": f"bytes {start}-{end - 1}/{size}"}
    stream = _FileStream(folder / path, start, end) if request.method == "GET" else httpx.ByteStream(b"")
    return httpx.Response(206 if asked else 200, headers=headers, stream=stream)


class _FileStream(httpx.SyncByteStream):
    """Bytes of a file, read when they are asked for."""

    def __init__(self, path: Path, start: int, end: int):
        self.path, self.start, self.end = path, start, end

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            while chunk := file.read(min(_CHUNK_BYTES, self.end - file.tell())):
                yield chunk


def _refusal(code: str, sentence: str, commit: str | None = None) -> httpx.Response:
    """A 404 as the Hub words it; with a commit, its client remembers that the file does not exist."""
    headers = {"X-Error-Code": code, "X-Error-Message": sentence} | ({"X-Repo-Commit": commit} if commit else {})
    return httpx.Response(404, headers=headers)


def _commit(name: str, folder: Path) -> str:
    if resolve_name(name) in EMBEDDED_CHECKPOINTS:
        return embedded_commit(name)
    return alias_commit(name, folder.name) if name in ALIASES else folder.name  # in the cache named after its commit


_ANSWERS = (
    (re.compile(f"api/models/{_NAME}(/revision/{_REVISION})?"), _model_info),
    (re.compile(f"api/models/{_NAME}/tree/{_REVISION}(/(?P<path>.*))?"), _tree),
    (re.compile(f"{_NAME}/resolve/{_REVISION}/(?P<path>.+)"), _file),
)
