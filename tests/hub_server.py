"""A Hugging Face Hub in memory, on 127.0.0.1: models, data sets, Spaces, commits, LFS objects, access by token."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlparse

import yaml

TOKEN = "hf_of_the_test"
_LFS_SUFFIXES = (".safetensors", ".bin", ".parquet", ".whl")
_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")  # of the card of a Space


@dataclass
class Repository:
    """Branches point to commits, commits hold files."""

    private: bool
    branches: dict = field(default_factory=lambda: {"main": hashlib.sha1(b"first").hexdigest()})
    commits: dict = field(default_factory=lambda: {hashlib.sha1(b"first").hexdigest(): {}})

    def files(self, revision):
        """The commit of a branch, tag or hash, and its files; `None` if there is no such revision."""
        commit = self.branches.get(revision, revision)
        return (commit, self.commits[commit]) if commit in self.commits else None

    def commit(self, branch, changes):
        files = self.commits[self.branches[branch]] | changes
        content = json.dumps([branch, len(self.commits), sorted(files)]).encode()
        self.branches[branch] = hashlib.sha1(content).hexdigest()
        self.commits[self.branches[branch]] = files
        return self.branches[branch]


class HubServer:
    """The server's state, for tests to look at.

    Attributes:
        repositories (`dict[str, Repository]`): By name.
        lfs_objects (`dict[str, bytes]`): By sha256.
        unknown (`list[str]`): Requests that it has no answer for.
        refusals (`dict[str, int]`): Part of a path -> status with which such requests are refused.
    """

    def __init__(self):
        self.repositories, self.lfs_objects, self.unknown, self.refusals = {}, {}, [], {}
        self.endpoint = ""

    @contextlib.contextmanager
    def running(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        self.endpoint = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.route()

    do_HEAD = do_POST = do_PUT = do_GET

    # ------------------------------------------------------------------ answers

    def reply(self, status=200, body=b"", headers=None):
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})}
        self.send_response(status)
        headers = {"Content-Length": str(len(body)), **(headers or {})}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def refuse(self, status, code, **headers):
        message = {"RepoNotFound": "Repository Not Found", "EntryNotFound": "Entry not found"}.get(code, code)
        self.reply(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message, **headers})

    # ------------------------------------------------------------------ routing

    def route(self):
        path = unquote(urlparse(self.path).path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for part, status in self.hub.refusals.items():
            if part in path:
                return self.refuse(status, "Refused")
        for method, pattern, answer in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                return self.guarded(answer, body, **found.groupdict())
        self.hub.unknown.append(f"{self.command} {self.path}")
        return self.refuse(404, "NotFound")

    def guarded(self, answer, body, repo=None, **parts):
        """Answer for a repository that the caller may see: reading a public one needs no token."""
        authorized = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo is None:
            # The address of an LFS object, which only the batch request tells, is its own permission.
            return answer(self, body, **parts) if authorized or "oid" in parts else self.refuse(401, "Unauthorized")
        repository = self.hub.repositories.get(repo)
        reads = self.command in ("GET", "HEAD")
        if repository is None or (not authorized and (repository.private or not reads)):
            return self.refuse(404 if authorized else 401, "RepoNotFound")
        return answer(self, body, repo=repo, repository=repository, **parts)

    # ------------------------------------------------------------------ writing

    def create(self, body):
        wanted = json.loads(body)
        repo = f"{wanted['organization'] or 'me'}/{wanted['name']}"
        address = {"url": f"{self.hub.endpoint}/{repo}", "id": repo, "name": repo}
        if repo in self.hub.repositories:
            return self.reply(409, {"error": "You already created this model repo", **address})
        if wanted.get("type") == "space" and wanted.get("sdk") not in ("gradio", "docker", "static"):
            return self.reply(400, {"error": "sdk is required for a Space"})
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        self.hub.repositories[repo] = Repository(private)
        return self.reply(200, address)

    def branch(self, body, repo, repository, revision):
        if revision in repository.branches:
            return self.reply(409, {"error": "Reference already exists"})
        repository.branches[revision] = repository.branches["main"]
        return self.reply(201, {})

    def preupload(self, body, repo, repository, revision):
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(_LFS_SUFFIXES) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(body)["files"]
        ]
        return self.reply(200, {"files": files})

    def lfs_batch(self, body, repo, repository):
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.endpoint}/lfs/{wanted['oid']}"}}}
            for wanted in json.loads(body)["objects"]
        ]
        return self.reply(200, {"transfer": "basic", "objects": objects})

    def lfs_upload(self, body, oid):
        if hashlib.sha256(body).hexdigest() != oid:
            return self.refuse(400, "ChecksumMismatch")
        self.hub.lfs_objects[oid] = body
        return self.reply(200)

    def commit(self, body, repo, repository, revision):
        changes = {}
        for operation in map(json.loads, body.splitlines()):
            value = operation["value"]
            if operation["key"] == "file":
                changes[value["path"]] = base64.b64decode(value["content"])
            elif operation["key"] == "lfsFile":
                changes[value["path"]] = self.hub.lfs_objects[value["oid"]]
        oid = repository.commit(revision, changes)
        address = f"{self.hub.endpoint}/{repo}/commit/{oid}"
        return self.reply(200, {"success": True, "commitOid": oid, "commitUrl": address})

    def validate_yaml(self, body):
        """The front matter of a README: that of a Space says what runs it, and how its card looks."""
        asked = json.loads(body)
        values = yaml.safe_load(asked["content"].split("---\n")[1]) if asked["content"].startswith("---\n") else {}
        required = ("sdk", "emoji", "colorFrom", "colorTo") if asked["repoType"] == "space" else ()
        errors = [f'"{name}" is required' for name in required if name not in values]
        errors += [
            f'"{name}" must be one of {", ".join(_COLOURS)}'
            for name in ("colorFrom", "colorTo")
            if values.get(name, "red") not in _COLOURS
        ]
        errors += ['"emoji" must be one emoji'] * values.get("emoji", "🙂").isascii()
        errors += ['"short_description" has more than 60 signs'] * (len(values.get("short_description", "")) > 60)
        answer = {"errors": [{"message": one} for one in errors], "warnings": []}
        return self.reply(400 if errors else 200, answer)

    # ------------------------------------------------------------------ reading

    def info(self, body, repo, repository, revision="main"):
        found = repository.files(revision or "main")
        if found is None:
            return self.refuse(404, "RevisionNotFound")
        siblings = [{"rfilename": path} for path in sorted(found[1])]
        return self.reply(
            200,
            {"id": repo, "modelId": repo, "sha": found[0], "private": repository.private, "siblings": siblings}
            | {"_id": "0", "tags": [], "downloads": 0, "likes": 0},
        )

    def tree(self, body, repo, repository, revision, folder=None):
        found = repository.files(revision)
        if found is None:
            return self.refuse(404, "RevisionNotFound")
        prefix = f"{folder}/" if folder else ""
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
            for path, content in sorted(found[1].items())
            if path.startswith(prefix)
        ]
        return self.reply(200, entries) if entries or not folder else self.refuse(404, "EntryNotFound")

    def resolve(self, body, repo, repository, revision, path):
        found = repository.files(revision)
        if found is None:
            return self.refuse(404, "RevisionNotFound")
        commit, files = found
        if path not in files:
            return self.refuse(404, "EntryNotFound", **{"X-Repo-Commit": commit})
        etag = hashlib.sha256(files[path]).hexdigest()
        return self.reply(200, files[path], {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})


_REPO = r"(?P<repo>[^/]+/[^/]+?)"
_KIND = "/api/(?:models|datasets|spaces)"
_ROUTES = (
    (("POST",), "/api/repos/create", _Handler.create),
    (("POST",), "/api/validate-yaml", _Handler.validate_yaml),
    (("POST",), f"{_KIND}/{_REPO}/branch/(?P<revision>.+)", _Handler.branch),
    (("POST",), f"{_KIND}/{_REPO}/preupload/(?P<revision>.+)", _Handler.preupload),
    (("POST",), f"{_KIND}/{_REPO}/commit/(?P<revision>.+)", _Handler.commit),
    (("POST",), f"(?:/datasets|/spaces)?/{_REPO}.git/info/lfs/objects/batch", _Handler.lfs_batch),
    (("PUT",), "/lfs/(?P<oid>[0-9a-f]{64})", _Handler.lfs_upload),
    (("GET",), f"{_KIND}/{_REPO}(?:/revision/(?P<revision>.+))?", _Handler.info),
    (("GET",), f"{_KIND}/{_REPO}/tree/(?P<revision>[^/]+)(?:/(?P<folder>.+))?", _Handler.tree),
    (("GET", "HEAD"), f"(?:/spaces)?/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", _Handler.resolve),
)
