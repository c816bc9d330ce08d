"""A server of one file that knows ranges, and misbehaves on demand."""

import contextlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer:
    """Serves `content` under any path.

    Attributes:
        content (`bytes`): The file.
        faults (`list`): For each of the next requests a number of bytes after which the line goes dead, or a status.
        ranges (`list`): What each request asked for in its Range header.
    """

    def __init__(self, content):
        self.content, self.faults, self.ranges = content, [], []

    @property
    def etag(self):
        return f'"{hash(self.content):x}"'

    @contextlib.contextmanager
    def running(self):
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/weights.pth"
        finally:
            server.shutdown()
            server.server_close()

    def _handler(self):
        served = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                served.answer(self)

            def log_message(self, *_):
                pass

        return Handler

    def answer(self, request):
        self.ranges.append(request.headers.get("Range"))
        fault = self.faults.pop(0) if self.faults else None
        if fault in (404, 503):
            request.send_error(fault)
            return
        content, etag = self.content, self.etag
        asked = re.fullmatch(r"bytes=(\d+)-", request.headers.get("Range", ""))
        start = int(asked[1]) if asked and request.headers.get("If-Range", etag) == etag else 0
        if start and start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        request.send_header("ETag", etag)
        request.send_header("Content-Length", str(len(content) - start))
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.end_headers()
        request.wfile.write(content[start:] if fault is None else content[start : start + fault])
