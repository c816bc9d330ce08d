"""Photos of servers that misbehave, on this machine alone."""

import contextlib
import functools
import http.server
import socket
import threading
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.faults import materials
from benchmarks.faults.cases import Case, Draw, kind
from benchmarks.faults.judging import equals, gives, gives_or_refused, refused
from benchmarks.faults.photos import PROGRAMS
from farl_hf import photos
from farl_hf.photos import load_photo

PIXELS = np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8)
PNG = materials.encoded(PIXELS, "PNG")
SECONDS, BYTES = 1.0, 200_000  # the limits of a download while a case runs
SLACK_SECONDS = 6.0  # of a busy machine


class Server(http.server.BaseHTTPRequestHandler):
    """Every path of `WAYS` is a way to answer."""

    timeout = 10

    def log_message(self, *_: Any) -> None:
        """Says nothing."""

    def raw(self, content: bytes) -> None:
        """Sends bytes; the client may be gone."""
        with contextlib.suppress(OSError):
            self.wfile.write(content)

    def answer(self, content: bytes, *headers: str) -> None:
        """A status line, headers and a body, none of them checked."""
        self.raw("\r\n".join(["HTTP/1.1 200 OK", *headers, "", ""]).encode("latin-1") + content)

    def redirect(self, target: str, status: int = 302) -> None:
        """A redirect to any address."""
        self.raw(f"HTTP/1.0 {status} Found\r\nLocation: {target}\r\n\r\n".encode("latin-1", "replace"))

    def drip(self, content: bytes, seconds: float = 0.02) -> None:
        """Byte by byte."""
        with contextlib.suppress(OSError):
            for byte in content:
                self.wfile.write(bytes([byte]))
                time.sleep(seconds)

    def flood(self) -> None:
        """More than any photo has."""
        with contextlib.suppress(OSError):
            for _ in range(400):
                self.wfile.write(bytes(1 << 16))

    def do_GET(self) -> None:
        """Answers as the path says."""
        way = WAYS.get(self.path.strip("/").split("?")[0])
        way(self) if way else self.send_error(404)
        self.close_connection = True


def _to(path: str, status: int = 302) -> Callable[[Server], None]:
    return lambda one: one.redirect(f"http://{one.headers['Host']}/{path}", status)


SOUND: dict[str, Callable[[Server], Any]] = {
    "photo.png": lambda one: one.answer(PNG, f"Content-Length: {len(PNG)}"),
    "no-length": lambda one: one.answer(PNG, "Connection: close"),
    "chunked": lambda one: one.answer(b"%x\r\n%b\r\n0\r\n\r\n" % (len(PNG), PNG), "Transfer-Encoding: chunked"),
    "chunk-extension": lambda one: one.answer(
        b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(PNG), PNG), "Transfer-Encoding: chunked"
    ),
    "moved": _to("photo.png"),
    "moved-for-ever": _to("photo.png", 301),
    "moved-307": _to("photo.png", 307),
    "moved-308": _to("photo.png", 308),
    "moved-303": _to("photo.png", 303),
    "moved-three-times": _to("moved-again"),
    "moved-again": _to("moved"),
    "moved-relative": lambda one: one.redirect("/photo.png"),
    "text-type": lambda one: one.answer(PNG, "Content-Type: text/html", f"Content-Length: {len(PNG)}"),
    "odd-headers": lambda one: one.answer(PNG, f"Content-Length: {len(PNG)}", "X: \xe9\xff", "Set-Cookie: a=b"),
    "a%20b.png": lambda one: one.answer(PNG, f"Content-Length: {len(PNG)}"),
    "caf%C3%A9.png": lambda one: one.answer(PNG, f"Content-Length: {len(PNG)}"),
    "slow-but-in-time": lambda one: (one.answer(b"", f"Content-Length: {len(PNG)}"), one.drip(PNG, 0.2 / len(PNG))),
}
HOSTILE: dict[str, Callable[[Server], Any]] = {
    "drip-body": lambda one: (one.answer(b"", "Content-Length: 10000"), one.drip(bytes(10_000))),
    "drip-header": lambda one: (one.raw(b"HTTP/1.0 200 OK\r\n"), one.drip(b"X-Slow: " + b"a" * 10_000)),
    "drip-headers": lambda one: (one.raw(b"HTTP/1.0 200 OK\r\n"), one.drip(b"X: 1\r\n" * 2000)),
    "drip-status": lambda one: one.drip(b"HTTP/1.0 200 " + b"O" * 10_000),
    "drip-chunks": lambda one: (one.answer(b"", "Transfer-Encoding: chunked"), one.drip(b"1\r\na\r\n" * 2000)),
    "drip-chunk-length": lambda one: (one.answer(b"", "Transfer-Encoding: chunked"), one.drip(b"0" * 10_000)),
    "drip-trailers": lambda one: (one.answer(b"0\r\n", "Transfer-Encoding: chunked"), one.drip(b"X: 1\r\n" * 2000)),
    "drip-continue": lambda one: one.drip(b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "slow-loop": lambda one: (time.sleep(0.3), one.redirect(f"/slow-loop?{time.monotonic()}")),
    "silent": lambda one: time.sleep(8),
    "silent-body": lambda one: (one.answer(b"", "Content-Length: 100"), time.sleep(8)),
    "flood": lambda one: one.flood(),
    "flood-body": lambda one: (one.answer(b""), one.flood()),
    "flood-redirect": lambda one: (one.redirect(f"http://{one.headers['Host']}/photo.png"), one.flood()),
    "flood-continue": lambda one: one.raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000),
    "flood-chunks": lambda one: (
        one.answer(b"", "Transfer-Encoding: chunked"),
        [one.raw(b"1\r\na\r\n" * 1000) for _ in range(400)],
    ),
    "loop": lambda one: one.redirect("/loop"),
    "two-loops": _to("other-loop"),
    "other-loop": _to("two-loops"),
    "short": lambda one: one.answer(PNG[:50], f"Content-Length: {len(PNG)}"),
    "huge-length": lambda one: one.answer(PNG, "Content-Length: 1000000000000"),
    "absurd-length": lambda one: one.answer(PNG, f"Content-Length: {10**30}"),
    "negative-length": lambda one: one.answer(PNG[:50], "Content-Length: -5"),
    "two-lengths": lambda one: one.answer(PNG[:60], "Content-Length: 60", "Content-Length: 7"),
    "bad-chunk": lambda one: one.answer(b"zz\r\nabc", "Transfer-Encoding: chunked"),
    "negative-chunk": lambda one: one.answer(b"-5\r\nabc", "Transfer-Encoding: chunked"),
    "short-chunk": lambda one: one.answer(b"ff\r\nabc", "Transfer-Encoding: chunked"),
    "huge-chunk": lambda one: one.answer(b"ffffffffffffffffffff\r\nabc", "Transfer-Encoding: chunked"),
    "long-chunk-length": lambda one: one.answer(b"1" * 70_000, "Transfer-Encoding: chunked"),
    "bad-status": lambda one: one.raw(b"HTTP/1.0 abc\r\n\r\n"),
    "status-99": lambda one: one.raw(b"HTTP/1.0 99 x\r\n\r\n"),
    "status-999": lambda one: one.raw(b"HTTP/1.0 999 x\r\n\r\n"),
    "status-204": lambda one: one.raw(b"HTTP/1.0 204 x\r\n\r\n"),
    "status-304": lambda one: one.raw(b"HTTP/1.0 304 x\r\n\r\n"),
    "status-500": lambda one: one.send_error(500),
    "status-401": lambda one: one.raw(b"HTTP/1.0 401 x\r\nWWW-Authenticate: Basic realm=x\r\n\r\n"),
    "switching": lambda one: one.raw(b"HTTP/1.1 101 Switching\r\n\r\n"),
    "no-http": lambda one: one.raw(PNG),
    "nothing": lambda one: None,
    "long-header": lambda one: one.answer(PNG, "X: " + "a" * 70_000),
    "many-headers": lambda one: one.answer(PNG, *(f"X-{n}: 1" for n in range(300))),
    "bad-header": lambda one: one.answer(PNG[:40], "no colon here", "\x00\x01: x"),
    "no-picture": lambda one: one.answer(b"<html>"),
    "gzip": lambda one: one.answer(b"\x1f\x8b\x08" + bytes(50), "Content-Encoding: gzip"),
    "empty": lambda one: one.answer(b"", "Content-Length: 0"),
    "postscript": lambda one: one.answer(PROGRAMS["PostScript"]),
    "bomb": lambda one: one.answer(materials.test_module("laion_shards").bomb_bytes()),
    "to-file": lambda one: one.redirect(f"file://{__file__}"),
    "to-ftp": lambda one: one.redirect("ftp://127.0.0.1:9/x.png"),
    "to-data": lambda one: one.redirect("data:image/png;base64,iVBORw0KGgo="),
    "to-gopher": lambda one: one.redirect("gopher://127.0.0.1/x"),
    "to-nothing": lambda one: one.redirect(""),
    "to-bad-port": lambda one: one.redirect("http://127.0.0.1:port/x"),
    "to-port-0": lambda one: one.redirect("http://127.0.0.1:0/x"),
    "to-nowhere": lambda one: one.redirect("http://127.0.0.1:9/x"),
    "to-nonsense": lambda one: one.redirect("http://[::1/x"),
    "to-javascript": lambda one: one.redirect("javascript:alert(1)"),
    "to-jar": lambda one: one.redirect("jar:file:///x!/y"),
    "to-control": lambda one: one.redirect("http://127.0.0.1/\x7f\x01"),
    "to-unicode": lambda one: one.redirect("http://\xe9\xff.invalid/"),
    "twice-to-file": _to("to-file"),
    "to-long": lambda one: one.redirect("http://127.0.0.1/" + "a" * 60_000),
    "no-location": lambda one: one.raw(b"HTTP/1.0 302 x\r\n\r\n"),
}
WAYS = SOUND | HOSTILE


@functools.cache
def address() -> str:
    """Of the running server."""
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    running.daemon_threads = True
    threading.Thread(target=running.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{running.server_port}"


def fetched(url: str, seconds: float = SECONDS) -> np.ndarray:
    """The photo at an address; a call that takes much longer than the limit hangs."""
    start = time.monotonic()
    try:
        with patch.object(photos, "_URL_SECONDS", seconds), patch.object(photos, "_URL_BYTES", BYTES):
            return np.asarray(load_photo(url))
    finally:
        if time.monotonic() - start > seconds + SLACK_SECONDS:
            time.sleep(30)  # beyond the time of the case: counted as what it is


@kind("urls", count=17)
def sound_server(draw: Draw) -> Case:
    path = draw.each(list(SOUND))
    way = {"a%20b.png": draw.any(["a b.png", "a%20b.png"]), "caf%C3%A9.png": "café.png"}.get(path, path)
    url = f"{address()}/{way}" + draw.any(["", "?q=1&b=é", "#part"] if "moved" not in path else [""])
    return Case(url[7:], lambda: fetched(url, 30), gives(equals(PIXELS)))


@kind("urls", count=len(HOSTILE), seconds=25)
def hostile_server(draw: Draw) -> Case:
    path = draw.each(list(HOSTILE))
    return Case(path, lambda: fetched(f"{address()}/{path}"), refused())


@kind("urls", count=30, seconds=25)
def address_that_is_none(draw: Draw) -> Case:
    host = address().removeprefix("http://")
    url = draw.each(
        [
            "http://",
            "http:///x",
            "http://127.0.0.1:port/x",
            "http://127.0.0.1:99999/x",
            "http://127.0.0.1:-1/x",
            "http://127.0.0.1/\r\nX: y",
            "http://[::1/x",
            "http://[::1]:1/x",
            "http://127.0.0.1/\x00",
            "http://\u2603.invalid/x",
            "https://127.0.0.1:9/x",
            "http://a..b/x",
            "http://" + "a" * 300 + "/x",
            "http://user:pass@127.0.0.1:9/x",
            "http://127.0.0.1:9/" + "a" * 100_000,
            "ftp://127.0.0.1/x.png",
            "file:///etc/passwd",
            f"file://{__file__}",
            "gopher://x/y",
            "http://%zz/",
            "http://\ud800/",
            "http://127.0.0.1:9/\ud800",
            f"https://{host}/photo.png",
            f"http://{host}:1/photo.png",
            "http:photo.png",
            "http:/photo.png",
            " http://127.0.0.1:9/x",
            "HTTP://",
            "http://0x7f.1:9/x",
            "http://.",
            "http://xn--/x",
            "http://127.0.0.1:9\\x",
        ]
    )
    return Case(ascii(url[:60]), lambda: fetched(url), refused())


@kind("urls", seconds=25)
def name_server_that_does_not_answer(draw: Draw) -> Case:
    """The time to find the host counts too."""
    real, silence = socket.getaddrinfo, draw.rng.uniform(9, 12)

    def never(host: Any, *more: Any, **settings: Any) -> Any:
        if str(host).endswith(".invalid"):
            time.sleep(silence)
            raise socket.gaierror("no name server")
        return real(host, *more, **settings)

    url = draw.any(
        ["http://photo.invalid/x.png", "https://photo.invalid/x", f"http://photo{draw.whole(0, 9)}.invalid:80/"]
    )

    def run() -> Any:
        with patch("socket.getaddrinfo", never):
            return fetched(url)

    return Case(url, run, refused())


@kind("urls", seconds=25)
def several_addresses_that_do_not_answer(draw: Draw) -> Case:
    """A host with many addresses, none of which answers: the limit is of all together."""
    silent = [socket.socket() for _ in range(draw.whole(5, 9))]
    for one in silent:
        one.bind(("127.0.0.1", 0))
        one.listen(0)
    fillers = []
    for one in silent:  # a full queue of connections: the next one gets no answer
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect(one.getsockname())
            fillers.append(filler)
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", one.getsockname()) for one in silent]

    def run() -> Any:
        try:
            with patch("socket.getaddrinfo", lambda *_, **__: found):
                return fetched("http://many.invalid/x.png", 2)
        finally:
            for one in (*silent, *fillers):
                one.close()

    return Case(f"{len(silent)} addresses", run, refused())


@kind("urls", seconds=25)
def url_in_a_run_over_many_photos(draw: Draw) -> Case:
    """`on_error="record"` keeps a hostile address from stopping the others."""
    find, path = materials.toy_pipeline("face-detection"), draw.each(list(HOSTILE))
    sources = [PIXELS, f"{address()}/{path}", PIXELS]

    def run() -> Any:
        with patch.object(photos, "_URL_SECONDS", SECONDS), patch.object(photos, "_URL_BYTES", BYTES):
            return list(find((source for source in sources), on_error="record"))

    def check(answers: Any) -> str:
        return "" if set(answers[1]) == {"error"} and answers[0] == answers[2] and answers[0] else str(answers)

    return Case(path, run, gives(check))


@kind("urls", seconds=25)
def data_set_row_with_an_address(draw: Draw) -> Case:
    """Training and index read rows by the same rules."""
    from farl_hf.photos import decode_photo

    path = draw.any(list(SOUND) if draw.number % 2 else list(HOSTILE))
    expected = gives_or_refused(equals(PIXELS))
    url = f"{address()}/{path}"

    def run() -> Any:
        with (
            patch.object(photos, "_URL_SECONDS", 30 if path in SOUND else SECONDS),
            patch.object(photos, "_URL_BYTES", BYTES),
        ):
            return decode_photo({"path": url, "bytes": None})

    return Case(path, run, expected)
