"""The page's files: all that is referred to is there, nothing comes from elsewhere, none is large."""

import re

import pytest

from tdedge_devices.web.assets import PACKAGES
from tdedge_devices.web.server import PAGE

FILES = sorted(PAGE.iterdir())


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_small_and_refers_only_to_what_is_served(path):
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= 400
    assert not re.search(r"https?://", text)
    served = {file.name for file in FILES} | {f"assets/{n}" for p in PACKAGES for n in p.files.values()}
    pattern = r'(?:^(?:im|ex)port .*from |src=|href=|Worker\()"([^"]+)"|"(\./assets/[^"]+)"'
    found = re.findall(pattern, text, re.MULTILINE)
    for name in filter(None, (a or b for a, b in found)):
        if name != "@litertjs/core" and not name.startswith("data:"):
            assert name.removeprefix("./") in served, name


def test_the_link_is_shown_with_a_qr_code_where_a_phone_can_reach_it(monkeypatch):
    import io

    from tdedge_devices.web.invite import invite, qr_code

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    shown = Terminal()
    invite("http://192.0.2.1:8000/token/", reachable=True, stream=shown)
    assert "http://192.0.2.1:8000/token/" in shown.getvalue()
    assert qr_code("http://192.0.2.1:8000/token/") in shown.getvalue()
    assert len(qr_code("x").splitlines()) > 10
    local = Terminal()
    invite("http://127.0.0.1:8000/token/", reachable=False, stream=local)
    assert "for a phone on the same network use web://0.0.0.0:PORT" in local.getvalue()
    assert "█" not in local.getvalue() and "▀" not in local.getvalue()
    monkeypatch.setitem(__import__("sys").modules, "segno", None)
    assert qr_code("x") == ""
