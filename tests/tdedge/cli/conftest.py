"""Commands called in this process, in an empty folder."""

import json
from dataclasses import dataclass

import pytest

from tdedge.cli.main import run


@dataclass(frozen=True)
class Done:
    """What a command left: exit code, both streams, and the JSON document where one was asked for."""

    code: int
    out: str
    err: str

    @property
    def document(self):
        def refuse(word):
            raise AssertionError(f"{word} is no JSON")

        return json.loads(self.out, parse_constant=refuse)

    @property
    def last(self) -> str:
        """The last line on stderr: the one that says what went wrong."""
        return self.err.strip().splitlines()[-1]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def tdedge(folder, capsys):
    """Call a command; a mistake must be one line on stderr."""

    def call(*arguments) -> Done:
        capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        streams = capsys.readouterr()
        if code:
            assert streams.err.strip().splitlines()[-1].startswith("tdedge: ")
        return Done(code, streams.out, streams.err)

    return call
