from pathlib import Path

import pytest
import typer
from support.networks import save_classifier

from tdedge.cli.config import option_keys, read_config
from tdedge.cli.main import app
from tdedge.errors import UsageError

KEYS = option_keys(typer.main.get_command(app).commands)


def write(folder: Path, text: str) -> Path:
    path = folder / "settings.toml"
    path.write_text(text)
    return path


def test_without_a_file_there_are_no_defaults(folder):
    assert read_config(None, KEYS) == {}


def test_keys_are_option_names(folder):
    path = write(
        folder,
        "[export]\noutput = 'a'\nformat = 'cp'\n'rank-ratio' = 0.5\nforce = true\n"
        "[bench]\nno_progress = true\n",
    )
    assert read_config(path, KEYS) == {
        "export": {"output_folder": "a", "format_name": "cp", "rank_ratio": 0.5, "force": True},
        "bench": {"no_progress": True},
    }
    assert read_config(write(folder, "[compress]\n'--save-plan' = 'p'\noutput_file = 'o'\n"), KEYS) == {
        "compress": {"save_plan": "p", "output_file": "o"}
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[exprot]\nto = 'x'\n", r"\[exprot\] is no command; did you mean 'export'\?"),
        ("[export]\nouptut = 'x'\n", r"\[export\] has no option 'ouptut'; did you mean 'output'\?"),
        ("[doctor]\nxyz = 1\n", r"\[doctor\] has no option 'xyz'; expected one of json, quiet"),
        ("to = 'x'\n", "'to' stands outside a table"),
        ("[export\n", "is not TOML"),
    ],
)
def test_mistakes(folder, text, words):
    with pytest.raises(UsageError, match=words) as raised:
        read_config(write(folder, text), KEYS)
    assert "settings.toml" in raised.value.message


def test_named_file_must_exist(folder):
    with pytest.raises(UsageError, match=r"cannot read settings file gone\.toml"):
        read_config(Path("gone.toml"), KEYS)


def test_settings_reach_the_command_and_the_command_line_wins(tdedge, folder):
    save_classifier(folder / "net.onnx")
    path = write(folder, "[inspect]\nformat = 'tucker'\nranks = '2,2'\nkeep = ['n_a']\njson = true\n")
    done = tdedge("--config", path, "inspect", "net.onnx")
    rows = {row["name"]: row for row in done.document["compression"]["rows"]}
    assert (rows["n_a"]["status"], rows["n_c"]["ranks"]) == ("kept", [2, 2])
    done = tdedge("--config", path, "inspect", "net.onnx", "--ranks", "3,3", "--keep", "n_y")
    rows = {row["name"]: row for row in done.document["compression"]["rows"]}
    assert (rows["n_y"]["status"], rows["n_c"]["ranks"]) == ("kept", [3, 3])


def test_wrong_settings_stop_every_command(tdedge, folder):
    (folder / "tdedge.toml").write_text("[export]\nouptut = 'x'\n")
    done = tdedge("doctor")
    assert done.code == 2
    assert "did you mean 'output'" in done.last
