"""The runtimes for browsers: only the pinned packages are unpacked, and changes are noticed."""

import base64
import hashlib
import io
import json
import tarfile

import pytest
from support.browsers_light import fake_assets

from tdedge.errors import MissingError, UsageError
from tdedge_devices.web import assets


@pytest.fixture
def package(tmp_path, monkeypatch):
    """One package instead of the real ones, and the folder with its tarball."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, content in {"dist/a.js": b"//", "../../evil.js": b"evil", "other.js": b"x"}.items():
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    content = held.getvalue()
    sha512 = base64.b64encode(hashlib.sha512(content).digest()).decode()
    package = assets.Package("@some/thing", "1.2.3", sha512, {"dist/a.js": "a.js"})
    monkeypatch.setattr(assets, "PACKAGES", (package,))
    monkeypatch.setattr(assets, "VERSIONS", {"@some/thing": "1.2.3"})
    source = tmp_path / "tarballs"
    source.mkdir()
    (source / "some-thing-1.2.3.tgz").write_bytes(content)
    return source


def test_only_listed_files_are_unpacked(package, tmp_path):
    folder = tmp_path / "new" / "assets"
    assets.fetch(folder, tarballs=package)
    assert sorted(path.name for path in folder.iterdir()) == ["a.js", "assets.json"]
    assert not (tmp_path / "evil.js").exists()
    assert assets.load(folder) == {"a.js": folder / "a.js"}
    assets.fetch(folder, tarballs=package)  # again, in place of itself
    assert assets.load(folder)["a.js"].read_bytes() == b"//"


def test_another_tarball_is_refused_and_nothing_is_left(package, tmp_path):
    tarball = package / "some-thing-1.2.3.tgz"
    tarball.write_bytes(tarball.read_bytes() + b"\0")
    with pytest.raises(UsageError, match=r"some-thing-1\.2\.3\.tgz has the SHA-512 .*; expected "):
        assets.fetch(tmp_path / "assets", tarballs=package)
    assert not (tmp_path / "assets").exists()
    tarball.unlink()
    with pytest.raises(MissingError, match="cannot read"):
        assets.fetch(tmp_path / "assets", tarballs=package)


def test_a_folder_of_something_else_is_left_alone(package, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="holds no runtimes for browsers"):
        assets.fetch(tmp_path / "mine", tarballs=package)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_changes_are_noticed(tmp_path, monkeypatch):
    folder = fake_assets(tmp_path / "assets", monkeypatch)
    assert list(assets.load(folder)) == ["a.js"]
    (folder / "a.js").write_bytes(b"/*")
    with pytest.raises(MissingError, match=r"a\.js is missing or was changed; fetch them once"):
        assets.load(folder)
    (folder / "a.js").unlink()
    with pytest.raises(MissingError, match="missing or was changed"):
        assets.load(folder)
    (folder / assets.LIST).write_text(json.dumps({"versions": {"runtime": "0.9"}, "sha256": {}}))
    with pytest.raises(MissingError, match="of other versions"):
        assets.load(folder)


def test_without_npm_the_remedy_is_told(tmp_path):
    with pytest.raises(MissingError, match=r"no-npm is not installed; install Node.js, or give --from"):
        assets.fetch(tmp_path / "assets", npm="no-npm")


def test_the_command(package, tmp_path, capsys):
    assert assets.main([str(tmp_path / "assets"), "--from", str(package)]) == 0
    assert capsys.readouterr().out == f"1 files, 0 MB, in {tmp_path / 'assets'}\n"
    assert assets.main([str(tmp_path / "other"), "--from", str(tmp_path)]) == 3
    assert capsys.readouterr().err.startswith("error: cannot read")


def test_the_default_is_the_users_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert assets.default_folder() == tmp_path / "tdedge" / "web"
