"""The archive of an image, as the kernel reads it."""

import io
import os
import stat

from tdedge_devices.arm64_image import write_cpio

FIELDS = (
    "number", "mode", "user", "group", "links", "time", "size", "major", "minor", "device_major",
    "device_minor", "name_size", "check",
)  # fmt: skip


def entries(archive: bytes):
    """Name -> (fields, content), of a ``newc`` archive."""
    found, place = {}, 0
    while True:
        assert archive[place : place + 6] == b"070701"
        values = [int(archive[place + 6 + 8 * i : place + 14 + 8 * i], 16) for i in range(len(FIELDS))]
        fields = dict(zip(FIELDS, values, strict=True))
        place += 110
        name = archive[place : place + fields["name_size"] - 1].decode()
        place += fields["name_size"]
        place += -place % 4
        content = archive[place : place + fields["size"]]
        place += fields["size"]
        place += -place % 4
        if name == "TRAILER!!!":
            assert place == len(archive)
            return found
        found[name] = fields, content


def test_files_links_and_folders(tmp_path):
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "program"
    program.write_bytes(b"12345")
    program.chmod(0o755)
    os.utime(program, (1e9, 1e9))
    (tmp_path / "link").symlink_to("bin/program")
    stream = io.BytesIO()
    write_cpio(tmp_path, stream)
    found = entries(stream.getvalue())
    assert list(found) == ["bin", "bin/program", "link", "dev/console"]
    fields, content = found["bin/program"]
    assert content == b"12345"
    assert (fields["mode"], fields["time"]) == (stat.S_IFREG | 0o755, 10**9)
    assert found["link"][1] == b"bin/program"
    assert stat.S_ISLNK(found["link"][0]["mode"])
    assert stat.S_ISDIR(found["bin"][0]["mode"])


def test_all_belongs_to_root_and_the_console_is_a_device(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    stream = io.BytesIO()
    write_cpio(tmp_path, stream)
    found = entries(stream.getvalue())
    assert {(fields["user"], fields["group"]) for fields, _ in found.values()} == {(0, 0)}
    console = found["dev/console"][0]
    assert stat.S_ISCHR(console["mode"])
    assert (console["device_major"], console["device_minor"]) == (5, 1)
