"""The web server by itself: what it gives, what it refuses, and that a job goes through it whole."""

import http.client
import json
import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from tdedge.errors import DeviceError
from tdedge_devices.web.exchange import Exchange, Gone, Job
from tdedge_devices.web.posts import pack
from tdedge_devices.web.server import MIME, PAGE, Server, page_files
from tdedge_runtimes.errors import RuntimeFailed, RuntimeInputError

FACTS = {
    "user_agent": "a browser",
    "platform": "Linux",
    "secure_context": True,
    "isolated": True,
    "threads": True,
    "hardware_concurrency": 2,
    "device_memory_gib": None,
    "clock_step_ms": 0.005,
    "gpu": None,
    "gpu_missing": "none",
}


class Client:
    def __init__(self, server):
        self.port, self.token = server.port, server.token

    def ask(self, method, path, body=None, *, token=None, headers=None):
        """(status, headers, content) of a request under the token."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        sent = json.dumps(body).encode() if isinstance(body, dict) else body
        connection.request(method, f"/{token or self.token}/{path}", sent, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, dict(response.getheaders()), content

    def hello(self):
        status, _, content = self.ask("POST", "hello", FACTS)
        assert status == 200
        return json.loads(content)["page"]


@pytest.fixture
def exchange():
    return Exchange()


@pytest.fixture
def server(exchange, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    asset = tmp_path / "runtime.wasm"
    asset.write_bytes(b"\0asm")
    with Server(exchange, page_files({"runtime.wasm": asset})) as server:
        yield server


@pytest.fixture
def client(server):
    return Client(server)


def job(tmp_path, **more):
    model = tmp_path / "model.onnx"
    model.write_bytes(b"model")
    return Job(document={"id": "j1", "kind": "latency"}, models={"a": model}, **more)


def started(exchange, handed):
    """A thread that waits for the job, and the list that its outcome goes to."""
    outcome = []

    def wait():
        try:
            outcome.append(exchange.do(handed, 10, lambda: None))
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, outcome


def test_the_page_and_its_parts_come_with_the_right_types(client):
    kinds = {path.name: MIME[path.suffix] for path in PAGE.iterdir()}
    assert {"index.html", "main.js", "style.css", "frame.html"} <= kinds.keys()
    for name, kind in {**kinds, "assets/runtime.wasm": "application/wasm", "": MIME[".html"]}.items():
        status, headers, content = client.ask("GET", name)
        assert (status, headers["Content-Type"], bool(content)) == (200, kind, True), name


def test_every_answer_isolates_the_page_and_keeps_it_here(client):
    for path in ("", "assets/runtime.wasm", "no-such-file", "baseline.onnx"):
        _, headers, _ = client.ask("GET", path)
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "connect-src 'self'" in headers["Content-Security-Policy"]
        assert "unsafe-inline" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize("token", ["x", "", "index.html", "A" * 22, "%00"])
@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "job?page=x"), ("POST", "hello")])
def test_nothing_is_told_without_the_token(client, token, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=10)
    connection.request(method, f"/{token}/{path}", "{}" if method == "POST" else None)
    response = connection.getresponse()
    assert (response.status, json.loads(response.read())) == (404, {"error": "no such page"})


def test_every_server_has_a_token_of_its_own(exchange, server):
    with Server(exchange, {}) as other:
        assert other.token != server.token
        assert len(other.token) >= 20


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "assets/../../secret.txt",
        "assets/..%2f..%2fsecret.txt",
        "%2e%2e/secret.txt",
        "assets/",
        "assets//etc/passwd",
        "/etc/passwd",
        "assets/runtime.wasm/../../secret.txt",
        "file/../../etc/passwd",
        "file/j1/0",
        "..\\secret.txt",
        "main.js%00.html",
    ],
)
def test_no_path_leads_to_another_file(client, path):
    status, _, content = client.ask("GET", path)
    assert (status, json.loads(content)) == (404, {"error": "no such file"})


def test_models_are_given_while_their_job_lasts(client, exchange, tmp_path):
    page = client.hello()
    thread, outcome = started(exchange, job(tmp_path))
    assert json.loads(client.ask("GET", f"job?page={page}")[2])["id"] == "j1"
    assert client.ask("GET", "file/j1/0")[2] == b"model"
    for wrong in ("file/j1/1", "file/j2/0", "file/j1/model.onnx", "file/j1/"):
        assert client.ask("GET", wrong)[0] == 404
    assert client.ask("POST", f"error?page={page}&job=j1", {"error": "out of memory"})[0] == 200
    thread.join()
    assert isinstance(outcome[0], RuntimeFailed)
    assert outcome[0].message == "in the browser: out of memory"
    assert client.ask("GET", "file/j1/0")[0] == 404


def test_an_error_of_the_model_is_the_users(client, exchange, tmp_path):
    page = client.hello()
    thread, outcome = started(exchange, job(tmp_path))
    client.ask("GET", f"job?page={page}")
    client.ask("POST", f"error?page={page}&job=j1", {"error": "cannot load", "wrong": True})
    thread.join()
    assert isinstance(outcome[0], RuntimeInputError)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        {},
        {**FACTS, "more": 1},
        {**FACTS, "isolated": "yes please"},
        {**FACTS, "user_agent": "x" * 2000},
        {**FACTS, "hardware_concurrency": 0},
        json.dumps({**FACTS, "clock_step_ms": float("nan")}).encode(),
        {**FACTS, "clock_step_ms": 0},
    ],
    ids=lambda body: str(body)[:20],
)
def test_a_malformed_hello_is_refused(client, exchange, body):
    status, _, content = client.ask("POST", "hello", body)
    assert status == 400
    assert "\n" not in json.loads(content)["error"]
    assert not exchange.has_page()


def test_a_malformed_result_does_not_end_the_job(client, exchange, tmp_path):
    page = client.hello()
    thread, outcome = started(exchange, job(tmp_path))
    client.ask("GET", f"job?page={page}")
    for body in (b"{", {"models": {}}, b"\0" * 100):
        assert client.ask("POST", f"result?page={page}&job=j1", body)[0] == 400
    assert client.ask("POST", f"outputs?page={page}&job=j1", b"\xff\xff\xff\xff")[0] == 400
    assert client.ask("POST", f"inputs?page={page}&job=j1", {"label": "a", "inputs": []})[0] == 400
    model = {
        "session": {"runtime": "tflite", "package": "p", "version": "1", "threads": 1, "execution": {}},
        "inputs": [],
        "outputs": [],
        "load_ms": 1.0,
    }
    result = {"facts": FACTS, "versions": {}, "models": {"a": model}, "hidden": False}
    assert client.ask("POST", f"result?page={page}&job=j1", result)[0] == 200
    thread.join()
    assert outcome[0]["models"]["a"]["load_ms"] == 1.0


def test_posts_are_capped_and_need_their_length(client):
    status, _, content = client.ask("POST", "hello", headers={"Content-Length": str(2 << 20)}, body=b"")
    assert (status, json.loads(content)["error"]) == (413, "2097152 bytes posted; the limit is 1048576")
    for line in ("", "Content-Length: -1\r\n", "Content-Length: 1e3\r\n", "Transfer-Encoding: chunked\r\n"):
        with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
            raw.sendall(f"POST /{client.token}/hello HTTP/1.1\r\nHost: x\r\n{line}\r\n".encode())
            assert raw.recv(100).startswith(b"HTTP/1.1 411 ")


def test_a_post_that_is_cut_off_does_no_harm(client):
    with socket.create_connection(("127.0.0.1", client.port), timeout=10) as raw:
        raw.sendall(
            f"POST /{client.token}/hello HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n{{".encode()
        )
    assert client.hello()


def test_other_pages_have_no_say(client, exchange, tmp_path):
    first = client.hello()
    second = client.hello()
    assert client.ask("GET", f"job?page={first}")[0] == 410
    assert client.ask("POST", f"beat?page={first}")[0] == 410
    assert client.ask("POST", f"bye?page={first}", {})[0] == 200
    assert exchange.has_page()
    thread, outcome = started(exchange, job(tmp_path))
    assert client.ask("GET", f"job?page={second}")[0] == 200
    assert json.loads(client.ask("POST", f"beat?page={second}", {})[2]) == {"job": "j1"}
    for query in (f"page={first}&job=j1", "page=&job=", ""):
        assert client.ask("POST", f"error?{query}", {"error": "no"})[0] == 410
    assert client.ask("POST", f"error?page={second}&job=other", {"error": "no"})[0] == 409
    assert client.ask("POST", f"bye?page={second}", {})[0] == 200
    thread.join()
    assert "closed or reloaded in the middle" in str(outcome[0])


def test_unknown_addresses_and_methods(client):
    assert client.ask("POST", "no-such-thing", {})[0] == 404
    assert client.ask("PUT", "hello", {})[0] == 501
    assert client.ask("DELETE", "")[0] == 501


def test_inputs_are_made_when_the_page_asks(client, exchange, tmp_path):
    import numpy as np

    asked = []

    def inputs(label, described):
        asked.append((label, described))
        if label != "a":
            raise RuntimeInputError("no such model")
        return pack({"x": np.ones((1, 2), "float32")})

    page = client.hello()
    thread, _ = started(exchange, job(tmp_path, inputs=inputs))
    client.ask("GET", f"job?page={page}")
    tensor = {"name": "x", "shape": [1, 2], "dtype": "float32"}
    status, _, content = client.ask("POST", f"inputs?page={page}&job=j1", {"label": "a", "inputs": [tensor]})
    assert (status, content[-8:]) == (200, np.ones(2, "float32").tobytes())
    status, _, content = client.ask("POST", f"inputs?page={page}&job=j1", {"label": "b", "inputs": [tensor]})
    assert (status, json.loads(content)) == (422, {"error": "no such model"})
    assert asked[0] == ("a", [tensor])
    client.ask("POST", f"error?page={page}&job=j1", {"error": "enough"})
    thread.join()


def test_a_taken_port_is_said(exchange, server):
    with pytest.raises(DeviceError, match=rf"cannot listen on 127.0.0.1:{server.port}: .*in use; choose"):
        Server(exchange, {}, port=server.port)
    with pytest.raises(DeviceError, match="port 70000 is none"):
        Server(exchange, {}, port=70000)
    with pytest.raises(DeviceError, match=r"cannot listen on 203\.0\.113\.9:0"):
        Server(exchange, {}, host="203.0.113.9")


def test_closing_ends_what_waits():
    asked = threading.Event()

    class Watched(Exchange):
        def next_job(self, page, timeout_s):
            asked.set()
            return super().next_job(page, timeout_s)

    exchange = Watched()
    server = Server(exchange, page_files({}))
    client = Client(server)
    page = client.hello()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(client.ask("GET", f"job?page={page}")[0]))
    waiting.start()
    assert asked.wait(10)
    server.close()
    waiting.join(10)
    assert answers == [410]
    with pytest.raises(Gone):
        exchange.arrive(FACTS)
    with pytest.raises(ConnectionRefusedError):
        client.ask("GET", "")


def test_https(exchange, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    with Server(exchange, page_files({}), tls=(certificate, key)) as server:
        assert server.scheme == "https"
        trusting = ssl.create_default_context(cafile=certificate)
        connection = http.client.HTTPSConnection("localhost", server.port, timeout=10, context=trusting)
        connection.request("GET", f"/{server.token}/")
        assert connection.getresponse().status == 200
        connection.close()
    with pytest.raises(DeviceError, match="cannot use the certificate"):
        Server(exchange, {}, tls=(key, Path("none.pem")))
