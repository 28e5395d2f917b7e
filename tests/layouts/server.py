"""A file server on loopback with the network's moods: ranges, breaks, truncation, wrong bytes, 503."""

import hashlib
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote


class Server(ThreadingHTTPServer):
    """Serves `files` (path -> bytes, or from the query to bytes); `faults` (path -> list) are spent one a request.

    A fault is a status code to answer, ("drop", n) to close the connection after n bytes of the body, or
    ("truncate", n) to claim only n bytes, or a function that answers by itself, of the handler and the body.
    """

    daemon_threads = True

    def __init__(self, files):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.seen = dict(files), {}, []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server, path = self.server, unquote(self.path.partition("?")[0].lstrip("/"))
        faults = server.faults.get(path, [])
        fault = faults.pop(0) if faults else None
        body = server.files.get(path)
        if callable(body):
            body = body(dict(parse_qsl(self.path.partition("?")[2])))
        asked = self.headers.get("Range")
        server.seen.append((path, asked))
        if callable(fault):
            fault(self, body)
            return
        if isinstance(fault, int) or body is None:
            self.send_response(fault or 404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        begun = 0
        if asked and self.headers.get("If-Range", tag) == tag:
            begun = int(asked.removeprefix("bytes=").partition("-")[0])
            if begun >= len(body):
                self.send_response(416)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begun}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        part = body[begun:]
        if fault and fault[0] == "truncate":
            part = part[: fault[1]]
        self.send_header("Content-Length", str(len(part)))
        self.send_header("ETag", tag)
        self.end_headers()
        if fault and fault[0] == "drop":
            self.wfile.write(part[: fault[1]])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        self.wfile.write(part)

    def do_HEAD(self):
        body = self.server.files.get(self.path.partition("?")[0].lstrip("/"))
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()

    def answer(self, status, body, *, declared=True, **headers):
        """Answer with these bytes and headers (names with underscores), and close the connection."""
        self.send_response(status)
        for name, value in (({"Content_Length": len(body)} if declared else {}) | headers).items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *args):
        pass


@contextmanager
def serve(files):
    """Run a server for the block."""
    server = Server(files)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
