"""Files in place of the runtimes for browsers, for tests in which no browser runs."""

import hashlib
import json

from tdedge_devices.web import assets


def fake_assets(folder, monkeypatch):
    """A folder that ``assets.load`` takes: one small file of the right name."""
    package = assets.Package("runtime", "1.0.0", "", {"dist/a.js": "a.js"})
    monkeypatch.setattr(assets, "PACKAGES", (package,))
    monkeypatch.setattr(assets, "VERSIONS", {"runtime": "1.0.0"})
    folder.mkdir(parents=True)
    (folder / "a.js").write_bytes(b"//")
    listed = {"versions": assets.VERSIONS, "sha256": {"a.js": hashlib.sha256(b"//").hexdigest()}}
    (folder / assets.LIST).write_text(json.dumps(listed))
    return folder
