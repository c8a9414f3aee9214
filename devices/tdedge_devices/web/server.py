"""The web server a page talks to: one token in every path, known files only, posts capped and checked.

    GET  /TOKEN/                     the page; also its scripts, and /TOKEN/assets/NAME: the runtimes
    POST /TOKEN/hello                facts about the browser -> {"page": ID}
    GET  /TOKEN/job?page=ID          waits for a job; 204: none yet
    GET  /TOKEN/file/JOB/PLACE       a model of the current job
    POST /TOKEN/inputs?page=&job=    a model's inputs -> their values
    POST /TOKEN/outputs?page=&job=   the outputs of a run
    POST /TOKEN/result|error?...     the answer
    POST /TOKEN/beat?page=ID         alive -> {"job": NAME or null};  POST /TOKEN/bye?page=ID

410 tells a page that it is no longer needed, 409 that its job is not. Files are looked up in tables by their
whole name, never joined to a folder, so no path leads out. The headers make the page cross-origin isolated
where its origin is secure.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import tdedge_runtimes
from tdedge.errors import DeviceError
from tdedge_devices.closing import Closing
from tdedge_devices.web.exchange import Exchange, Gone, Job, Over
from tdedge_devices.web.posts import Facts, Failure, Inputs, Malformed, Result, as_json, parse, unpack
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError, RuntimesError
from tdedge_runtimes.memory import baseline_model

#: Where the page itself is: files of the package of runtimes.
PAGE = Path(tdedge_runtimes.__file__).parent / "web"

MIME = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".wasm": "application/wasm",
}

_LIMITS = {"result": 64 << 20, "outputs": 512 << 20}  # bytes; a post of any other kind:
_LIMIT = 1 << 20
_POLL_S = 20.0
_IMPORT_MAP = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


class Server(Closing):
    """A running server. Close it, or use it as a context manager.

    Args:
        exchange: what the posts and questions of pages go to.
        files: name under /TOKEN/ -> file, for the page and its assets.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        tls: certificate and key, to speak https.

    Raises:
        DeviceError: the address cannot be listened on.
    """

    def __init__(
        self,
        exchange: Exchange,
        files: Mapping[str, Path],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        self.token = secrets.token_urlsafe(16)
        site = _Site(exchange, dict(files), self.token, _policy(files))
        try:
            self._http = _Http((host, port), site)
        except OverflowError:
            raise DeviceError(f"port {port} is none; expected 0 to 65535") from None
        except OSError as error:
            raise DeviceError(
                f"cannot listen on {host}:{port}: {error.strerror or error}; choose another port: "
                f"web://{host}:PORT"
            ) from None
        self.port = int(self._http.server_address[1])
        self.scheme = "https" if tls else "http"
        if tls:
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*tls)
            except (OSError, ssl.SSLError) as error:
                self._http.server_close()
                raise DeviceError(f"cannot use the certificate {tls[0]}: {error}") from None
            self._http.socket = context.wrap_socket(
                self._http.socket, server_side=True, do_handshake_on_connect=False
            )
        self._exchange = exchange
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; pages are told that all is over."""
        self._exchange.close()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def page_files(assets: Mapping[str, Path], page: Path = PAGE) -> dict[str, Path]:
    """Name under /TOKEN/ -> file: the page's own files and the runtimes'."""
    own = {path.name: path for path in sorted(page.iterdir()) if path.suffix in MIME}
    return {**own, **{f"assets/{name}": path for name, path in assets.items()}}


def _policy(files: Mapping[str, Path]) -> str:
    """A content policy under which a page can load and reach nothing but this server."""
    hashes = []
    for path in files.values():
        if path.suffix == ".html" and (found := _IMPORT_MAP.search(path.read_bytes())):
            digest = base64.b64encode(hashlib.sha256(found[1]).digest()).decode()
            hashes.append(f"'sha256-{digest}'")
    scripts = " ".join(["'self'", "'wasm-unsafe-eval'", *dict.fromkeys(hashes)])
    return (
        f"default-src 'none'; script-src {scripts}; worker-src 'self' blob:; connect-src 'self'; "
        "style-src 'self'; img-src 'self' data:; frame-src 'self'; frame-ancestors 'self'; "
        "base-uri 'none'; form-action 'none'"
    )


@dataclass(frozen=True)
class _Site:
    exchange: Exchange
    files: dict[str, Path]
    token: str
    policy: str


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False  # a page may be waiting for a job

    def __init__(self, address: tuple[str, int], site: _Site) -> None:
        self.site = site
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Browsers cut connections at will; that is no error of the server."""


class _Refused(Exception):
    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "tdedge"
    sys_version = ""
    timeout = 60.0  # seconds a connection may be silent

    @property
    def site(self) -> _Site:
        """What is served."""
        assert isinstance(self.server, _Http)
        return self.server.site

    def do_GET(self) -> None:
        """A file, or the next job."""
        self._serve(self._get)

    def do_POST(self) -> None:
        """A page's news."""
        self._serve(self._post)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal belongs to the command."""

    def _serve(self, handle: Callable[[str, dict[str, str]], None]) -> None:
        parts = urlsplit(self.path)
        token, _, name = parts.path.removeprefix("/").partition("/")
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        try:
            if not hmac.compare_digest(token.encode("utf-8", "replace"), self.site.token.encode()):
                raise _Refused(HTTPStatus.NOT_FOUND, "no such page")
            handle(name, query)
        except _Refused as refused:
            self.close_connection = True  # what was not read of a post must not be taken for a request
            self._send_json({"error": str(refused)}, refused.status)
        except Malformed as error:
            self._send_json({"error": str(error)}, HTTPStatus.BAD_REQUEST)
        except RuntimesError as error:
            self._send_json({"error": error.message}, HTTPStatus.UNPROCESSABLE_ENTITY)
        except Over:
            self._send_json({"error": "this job is no longer wanted"}, HTTPStatus.CONFLICT)
        except Gone:
            self._send_json({"error": "this page is no longer needed"}, HTTPStatus.GONE)

    def _get(self, name: str, query: dict[str, str]) -> None:
        if name == "job":
            job = self.site.exchange.next_job(query.get("page", ""), _POLL_S)
            if job is None:
                self._send(b"", "text/plain", status=HTTPStatus.NO_CONTENT)
            else:
                self._send_json(job.document)
        elif name == "baseline.onnx":
            self._send(baseline_model(".onnx"), "application/octet-stream")
        elif name.startswith("file/"):
            job_id, _, place = name.removeprefix("file/").partition("/")
            path = self.site.exchange.model(job_id, place)
            if path is None:
                raise _Refused(HTTPStatus.NOT_FOUND, "no such file")
            self._send_file(path, "application/octet-stream", "no-store")
        else:
            path = self.site.files.get(name or "index.html")
            if path is None:
                raise _Refused(HTTPStatus.NOT_FOUND, "no such file")
            keep = "private, max-age=3600" if name.startswith("assets/") else "no-store"
            self._send_file(path, MIME[path.suffix], keep)

    def _post(self, name: str, query: dict[str, str]) -> None:
        body = self._body(_LIMITS.get(name, _LIMIT))
        page, job_id = query.get("page", ""), query.get("job", "")
        if name == "hello":
            self._send_json({"page": self.site.exchange.arrive(as_json(parse(Facts, body)))})
        elif name == "beat":
            self._send_json({"job": self.site.exchange.beat(page)})
        elif name == "bye":
            self.site.exchange.leave(page)
            self._send_json({})
        elif name == "inputs":
            self._send_inputs(self.site.exchange.job_of(page, job_id), parse(Inputs, body))
        elif name == "outputs":
            job = self.site.exchange.job_of(page, job_id)
            unpack(body)  # refused here, the page hears of it
            job.outputs = body
            self._send_json({})
        elif name == "result":
            self.site.exchange.answer(page, job_id, as_json(parse(Result, body)))
            self._send_json({})
        elif name == "error":
            failure = parse(Failure, body)
            kind = RuntimeInputError if failure.wrong else RuntimeFailed
            self.site.exchange.fail(page, job_id, kind(f"in the browser: {failure.error}"))
            self._send_json({})
        else:
            raise _Refused(HTTPStatus.NOT_FOUND, "no such address")

    def _send_inputs(self, job: Job, asked: Inputs) -> None:
        if job.inputs is None:
            raise Malformed("this job has no inputs")
        values = job.inputs(asked.label, [as_json(tensor) for tensor in asked.inputs])
        self._send(values, "application/octet-stream")

    def _body(self, limit: int) -> bytes:
        text = self.headers.get("Content-Length")
        if text is None or not text.isdigit() or len(text) > 15:
            raise _Refused(HTTPStatus.LENGTH_REQUIRED, "a post needs its length")
        length = int(text)
        if length > limit:
            raise _Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{length} bytes posted; the limit is {limit}"
            )
        body = self.rfile.read(length)
        if len(body) != length:
            raise _Refused(HTTPStatus.BAD_REQUEST, "the post was cut off")
        return body

    def _send_json(self, document: Mapping[str, Any], status: HTTPStatus = HTTPStatus.OK) -> None:
        self._send(json.dumps(document).encode(), "application/json", status=status)

    def _send_file(self, path: Path, kind: str, keep: str) -> None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise _Refused(HTTPStatus.INTERNAL_SERVER_ERROR, f"{path.name}: {error.strerror}") from None
        self._send(content, kind, keep=keep)

    def _send(
        self, content: bytes, kind: str, *, status: HTTPStatus = HTTPStatus.OK, keep: str = "no-store"
    ) -> None:
        self.send_response(status)
        if status != HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        for name, value in (
            ("Cache-Control", keep),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Embedder-Policy", "require-corp"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Content-Security-Policy", self.site.policy),
            ("Referrer-Policy", "no-referrer"),
            ("X-Content-Type-Options", "nosniff"),
        ):
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)
