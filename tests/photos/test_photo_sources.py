"""Where photos come from: formats that are opened, files by every name, bytes, and servers that misbehave."""

import ast
import base64
import contextlib
import http.server
import io
import socket
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image, features

import farl_hf
from farl_hf import photos
from farl_hf.cli.photo_files import find_photos
from farl_hf.data.datasets.raw_folders import check_row
from farl_hf.errors import UnreadablePhotoError
from farl_hf.photos import ReducedPhoto, decode_map, decode_photo, load_photo, open_picture
from farl_hf.pipelines.inputs import as_pipeline_inputs

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
OPENERS = {"open", "imread", "imreadmulti", "load_image", "read_image", "decode_image", "decode_jpeg", "decode_png"}
PICTURE_MODULES = {"Image", "PIL", "cv2", "imageio", "iio", "skimage", "io", "torchvision", "image_utils"}


def encoded(picture, file_format, **options):
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


PNG = encoded(Image.fromarray(RGB), "PNG")


# --- formats


def opens_pictures(path):
    """Lines of a file that call a function by which PIL, OpenCV, torchvision and others open pictures."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in OPENERS:
            owner = node.func.value
            if getattr(owner, "attr", getattr(owner, "id", None)) in PICTURE_MODULES:
                yield node.lineno
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("PIL", "cv2", "torchvision"):
            yield from (node.lineno for alias in node.names if alias.name in OPENERS)


def test_pictures_are_opened_in_one_module():
    root = Path(farl_hf.__file__).parent
    found = {path.relative_to(root).as_posix() for path in root.rglob("*.py") if list(opens_pictures(path))}
    assert found == {"photos.py"}


def test_that_module_names_its_formats():
    tree = ast.parse(Path(photos.__file__).read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"]
    assert calls
    assert all("formats" in {keyword.arg for keyword in call.keywords} for call in calls)
    assert not {"EPS", "PSD", "WMF", "FITS", "PCD", "MPEG"} & set(photos.PHOTO_FORMATS)


EPS = encoded(Image.fromarray(RGB), "EPS")
PROGRAMS = {
    "eps": EPS,
    "bare eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
    "dos eps": b"\xc5\xd0\xd3\xc6" + (30).to_bytes(4, "little") + len(EPS).to_bytes(4, "little") + bytes(18) + EPS,
    "pdf": encoded(Image.fromarray(RGB), "PDF"),
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'/>",
    "wmf": b"\xd7\xcd\xc6\x9a" + bytes(40),
}


@pytest.mark.parametrize("content", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("name", ["x.jpg", "x.eps", "x.png"])
def test_programs_are_never_run(tmp_path, monkeypatch, content, name):
    def run(*_, **__):
        raise AssertionError("an interpreter was started")

    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", run)
    monkeypatch.setattr("subprocess.Popen", run)
    path = tmp_path / name
    path.write_bytes(content)
    row = {"path": str(path), "bytes": None}
    data_url = "data:image/jpeg;base64," + base64.b64encode(content).decode()
    for read, source in (
        *((load_photo, source) for source in (path, str(path), content, data_url, row)),
        *((decode_photo, source) for source in (row, {"path": None, "bytes": content})),
        *((read, row) for read in (decode_map, ReducedPhoto, open_picture)),
        (check_row, {"image": row}),
        (check_row, {"image": {"path": None, "bytes": PNG}, "label_map": row}),
    ):
        with pytest.raises(UnreadablePhotoError):
            read(source)


def test_postscript_that_a_user_opened_is_not_run_either(monkeypatch):
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *_, **__: pytest.fail("an interpreter was started"))
    for read in (load_photo, decode_photo, decode_map, ReducedPhoto):
        with pytest.raises(UnreadablePhotoError, match="PostScript"):
            read(Image.open(io.BytesIO(EPS)))


@pytest.mark.parametrize("file_format", photos.PHOTO_FORMATS)
def test_every_listed_format_is_read(tmp_path, file_format):
    if not features.check({"JPEG2000": "jpg_2000"}.get(file_format, "zlib")):
        pytest.skip("Pillow was built without it")
    flat = np.full((16, 24, 3), (200, 100, 50), np.uint8)  # which no lossy format changes much
    path = tmp_path / "photo.bin"
    path.write_bytes(encoded(Image.fromarray(flat), {"TGA": "TGA"}.get(file_format, file_format)))
    for source in (path, str(path), path.read_bytes(), bytearray(path.read_bytes()), memoryview(path.read_bytes())):
        assert np.abs(np.asarray(load_photo(source)).astype(int) - flat).max() <= 12
    assert (decode_photo({"path": str(path), "bytes": None}) == np.asarray(load_photo(path))).all()


def test_bytes_are_one_photo_for_pipelines():
    spread = np.repeat(np.frombuffer(PNG, np.uint8), 2)
    for photo in (PNG, bytearray(PNG), memoryview(PNG), memoryview(spread)[::2]):
        assert as_pipeline_inputs(photo) is photo


def test_names_that_no_file_can_have():
    for name in ("a" * 300, "b" * 5000, "nul\0name.jpg", "", base64.b64encode(PNG * 50).decode()):
        with pytest.raises(UnreadablePhotoError):
            load_photo(name)


# --- servers


class Misbehaving(http.server.BaseHTTPRequestHandler):
    """`/photo.png` is sound; every other path is a way to fail. `finished` are the paths whose drips nobody ended."""

    timeout = 10
    finished: ClassVar[set[str]] = set()

    def log_message(self, *_):
        pass

    def raw(self, content):
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    def answer(self, content, *headers):
        self.raw("\r\n".join(["HTTP/1.0 200 OK", *headers, "", ""]).encode() + content)

    def redirect(self, target):
        self.raw(f"HTTP/1.0 302 Found\r\nLocation: {target}\r\n\r\n".encode())

    def drip(self, content, seconds=0.02):
        with contextlib.suppress(OSError):
            for byte in content:
                self.wfile.write(bytes([byte]))
                time.sleep(seconds)
            self.finished.add(self.path)

    def do_GET(self):
        host = self.headers["Host"]
        ways = {
            "/photo.png": lambda: self.answer(PNG, f"Content-Length: {len(PNG)}"),
            "/no-length": lambda: self.answer(PNG),
            "/chunked": lambda: self.answer(b"%x\r\n%b\r\n0\r\n\r\n" % (len(PNG), PNG), "Transfer-Encoding: chunked"),
            "/moved": lambda: self.redirect(f"http://{host}/photo.png"),
            "/moved-relative": lambda: self.redirect("/photo.png"),
            "/a%20b.png": lambda: self.answer(PNG),
            "/caf%C3%A9.png": lambda: self.answer(PNG),
            # Time and size.
            "/drip-body": lambda: (self.answer(b"", "Content-Length: 10000"), self.drip(bytes(10_000))),
            "/drip-header": lambda: (self.raw(b"HTTP/1.0 200 OK\r\n"), self.drip(b"X-Slow: " + b"a" * 10_000)),
            "/drip-status": lambda: self.drip(b"HTTP/1.0 200 " + b"O" * 10_000),
            "/drip-chunks": lambda: (self.answer(b"", "Transfer-Encoding: chunked"), self.drip(b"1\r\na\r\n" * 2000)),
            "/drip-redirect": lambda: (self.raw(f"HTTP/1.0 302 F\r\nLocation: http://{host}/photo.png\r\n\r\n".encode()),
                                       self.drip(bytes(10_000))),
            "/silent": lambda: time.sleep(5),
            "/endless": lambda: [self.raw(bytes(1 << 16)) for _ in range(200)],
            "/endless-body": lambda: (self.answer(b""), [self.raw(bytes(1 << 16)) for _ in range(200)]),
            "/endless-redirect": lambda: (self.redirect(f"http://{host}/photo.png"),
                                          [self.raw(bytes(1 << 16)) for _ in range(200)]),
            "/loop": lambda: self.redirect(f"http://{host}/loop"),
            # Lies.
            "/short": lambda: self.answer(PNG[:50], f"Content-Length: {len(PNG)}"),
            "/huge-length": lambda: self.answer(PNG, "Content-Length: 1000000000000"),
            "/absurd-length": lambda: self.answer(PNG, f"Content-Length: {10**30}"),
            "/negative-length": lambda: self.answer(PNG[:50], "Content-Length: -5"),
            "/bad-chunk": lambda: self.answer(b"zz\r\nabc", "Transfer-Encoding: chunked"),
            "/short-chunk": lambda: self.answer(b"ff\r\nabc", "Transfer-Encoding: chunked"),
            "/huge-chunk": lambda: self.answer(b"ffffffffffffffffffff\r\nabc", "Transfer-Encoding: chunked"),
            "/bad-status": lambda: self.raw(b"HTTP/1.0 abc\r\n\r\n"),
            "/no-http": lambda: self.raw(PNG),
            "/nothing": lambda: None,
            "/long-header": lambda: self.answer(PNG, "X: " + "a" * 70_000),
            "/many-headers": lambda: self.answer(PNG, *(f"X-{n}: 1" for n in range(300))),
            "/no-picture": lambda: self.answer(b"<html>"),
            "/postscript": lambda: self.answer(EPS),
            "/empty": lambda: self.answer(b"", "Content-Length: 0"),
            # Redirects elsewhere.
            "/to-file": lambda: self.redirect(f"file://{__file__}"),
            "/to-ftp": lambda: self.redirect("ftp://127.0.0.1:9/x.png"),
            "/to-data": lambda: self.redirect("data:image/png;base64," + base64.b64encode(PNG).decode()),
            "/to-gopher": lambda: self.redirect("gopher://127.0.0.1/x"),
            "/to-bad-port": lambda: self.redirect("http://127.0.0.1:port/x"),
            "/to-nowhere": lambda: self.redirect("http://127.0.0.1:9/x"),
            "/to-nonsense": lambda: self.redirect("http://[::1/x"),
            "/twice-to-file": lambda: self.redirect(f"http://{host}/to-file"),
        }  # fmt: skip
        ways.get(self.path, lambda: self.send_error(404))()


@pytest.fixture(scope="module")
def server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as running:
        running.daemon_threads, running.block_on_close = True, False
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(autouse=True)
def short_limits(monkeypatch):
    monkeypatch.setattr(photos, "_URL_SECONDS", 0.6)
    monkeypatch.setattr(photos, "_URL_BYTES", 200_000)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "path", ["photo.png", "no-length", "chunked", "moved", "moved-relative", "a b.png", "a%20b.png", "café.png"]
)
def test_photos_of_servers(server, path):
    assert (np.asarray(load_photo(f"{server}/{path}")) == RGB).all()


def test_the_scheme_is_known_in_capitals(server):
    assert (np.asarray(load_photo(server.replace("http", "HTTP") + "/photo.png")) == RGB).all()


SLOW = ["drip-body", "drip-header", "drip-status", "drip-chunks", "drip-redirect", "silent"]
TOO_MUCH = ["endless-body", "endless-redirect"]
LIES = ["short", "huge-length", "absurd-length", "negative-length", "bad-chunk", "short-chunk", "huge-chunk"]
LIES += ["bad-status", "no-http", "nothing", "long-header", "many-headers", "no-picture", "postscript", "empty"]
ELSEWHERE = ["to-file", "to-ftp", "to-data", "to-gopher", "to-bad-port", "to-nowhere", "to-nonsense", "twice-to-file"]


@pytest.mark.parametrize("path", [*SLOW, *TOO_MUCH, *LIES, *ELSEWHERE, "endless", "loop", "missing"])
def test_servers_that_misbehave_give_one_typed_error_before_they_end(server, path):
    with pytest.raises(UnreadablePhotoError, match=path):
        load_photo(f"{server}/{path}")
    assert f"/{path}" not in Misbehaving.finished


@pytest.mark.parametrize("path", SLOW)
def test_the_error_of_a_slow_server_says_so(server, path):
    with pytest.raises(UnreadablePhotoError, match=r"longer than|timed out"):
        load_photo(f"{server}/{path}")


@pytest.mark.parametrize("path", TOO_MUCH)
def test_the_error_of_too_much_says_so(server, path):
    with pytest.raises(UnreadablePhotoError, match="more than 200,000 bytes"):
        load_photo(f"{server}/{path}")


@pytest.mark.parametrize(
    "url",
    ["http://", "http://127.0.0.1:port/x", "http://127.0.0.1:99999/x", "http://127.0.0.1/\r\nX: y", "http://[::1/x",
     "http://127.0.0.1/\x00", "http://\u2603.invalid/x", "https://127.0.0.1:9/x", "http:///x", "data:", "data:,abc",
     "data:image/png;base64,%%%", "http://a..b/x", "http://" + "a" * 300 + "/x"],
)  # fmt: skip
def test_addresses_that_are_none(url):
    with pytest.raises(UnreadablePhotoError):
        load_photo(url)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/x.png", f"file://{__file__}", "gopher://x/y"])
def test_other_schemes_are_no_addresses(url, monkeypatch):
    monkeypatch.setattr(photos, "_download", lambda _: pytest.fail("it was fetched"))
    with pytest.raises(UnreadablePhotoError):
        load_photo(url)


# --- HEIC and the names of files


HEIC_HEADER = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.fixture
def without_heif(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    photos._formats.cache_clear()
    yield
    photos._formats.cache_clear()


@pytest.mark.usefixtures("without_heif")
def test_heic_without_its_extra_is_named_with_the_remedy(tmp_path):
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC_HEADER)
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    found, failures = find_photos([str(tmp_path)])
    assert [Path(photo).name for photo in found] == ["IMG_1.HEIC", "a.jpg"]
    assert not failures
    with pytest.raises(UnreadablePhotoError, match=r"IMG_1\.HEIC is a HEIC .*farl-hf\[heic\]"):
        load_photo(found[0])


def test_heic_with_its_extra_is_read(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    photos._formats.cache_clear()
    flat = np.zeros((64, 96, 3), np.uint8)
    flat[:, :48] = (200, 100, 50)
    path = tmp_path / "photo.heic"
    pillow_heif.from_pillow(Image.fromarray(flat)).save(path, quality=95)
    shown = np.asarray(load_photo(path)).astype(int)
    assert shown.shape == flat.shape
    assert np.abs(shown - flat).mean() < 4
    assert (decode_photo({"path": str(path), "bytes": None}) == shown).all()


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".JPEG", ".jpe", ".JPE", ".jfif", ".JFIF", ".Png"])
def test_names_of_photos(tmp_path, suffix):
    path = tmp_path / f"photo{suffix}"
    path.write_bytes(encoded(Image.fromarray(RGB), "PNG" if suffix == ".Png" else "JPEG"))
    found, failures = find_photos([str(tmp_path)])
    assert found == [str(path)]
    assert not failures
    assert load_photo(path).size == (8, 6)


def test_the_time_to_find_a_host_counts(monkeypatch):
    released, ended = threading.Event(), []
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: ended.append(released.wait(60)))
    with pytest.raises(UnreadablePhotoError, match="not found in time"):
        load_photo("http://photo.invalid/x.png")
    assert not ended
    released.set()


def test_all_addresses_of_a_host_share_the_time(server, monkeypatch):
    port = int(server.rpartition(":")[2])
    silent = [socket.socket() for _ in range(4)]
    for one in silent:  # bound and not listening: a connection is refused at once
        one.bind(("127.0.0.1", 0))
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one.getsockname()) for one in silent]
    sound = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [*found, sound])
    assert load_photo("http://many.invalid/photo.png").size == (8, 6)
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: found)
    with pytest.raises(UnreadablePhotoError, match="refused"):
        load_photo("http://many.invalid/photo.png")
    for one in silent:
        one.close()


def test_every_sentence_has_one_line(server):
    for source in (f"{server}/loop", "b/" * 2000):
        with pytest.raises(UnreadablePhotoError) as caught:
            load_photo(source)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
