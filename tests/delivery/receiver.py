"""A receiver of webhooks, run as a process: writes down every request, and answers as the file `mode` says.

A mode is a status; or a word: `hang`, `drip`, `garbage`, `endless`, `cut`; or `redirect:<url>`.
`poison:<subject>:<status>` answers so to that subject only. After `;` come header fields, `Name: value`. With a file
of a certificate and its key as third argument it speaks TLS."""

import json
import ssl
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER = Path(sys.argv[1])


class Receiver(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        entry = {"path": self.path, "headers": dict(self.headers.items()), "body": body.decode()}
        with (FOLDER / "requests").open("a") as file:
            file.write(json.dumps(entry) + "\n")
        mode, _, extra = (FOLDER / "mode").read_text().partition(";")
        word, _, rest = mode.strip().partition(":")
        if word == "poison":
            subject, _, status = rest.partition(":")
            word = status if self.headers.get("ce-subject") == subject else "204"
        if word == "redirect":
            word, extra = "302", f"Location: {rest}"
        getattr(self, f"answer_{word}", lambda: self.answer(int(word), extra))()

    def answer(self, status: int, extra: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if extra:
            name, _, value = extra.partition(":")
            self.send_header(name.strip(), value.strip())
        self.end_headers()

    def answer_hang(self) -> None:
        time.sleep(3600)

    def answer_drip(self) -> None:
        for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000:
            self.wfile.write(bytes([byte]))
            self.wfile.flush()
            time.sleep(0.2)

    def answer_garbage(self) -> None:
        self.wfile.write(b"\x00\xff" * 2000 + b"\r\n\r\n")
        self.close_connection = True

    def answer_cut(self) -> None:
        self.close_connection = True

    def answer_endless(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while True:
            self.wfile.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Receiver)
server.daemon_threads = True
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[3])
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
