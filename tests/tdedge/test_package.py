import subprocess
import sys

import pytest

import tdedge


def test_every_public_name_is_there():
    assert sorted(dir(tdedge)) == sorted(tdedge.__all__)
    for name in tdedge.__all__:
        assert getattr(tdedge, name) is not None


def test_unknown_name():
    with pytest.raises(AttributeError, match="'tdedge' has no attribute 'compresss'"):
        _ = tdedge.compresss


@pytest.mark.parametrize("before", ["", "import tdedge.compress", "tdedge.export"])
def test_functions_are_not_hidden_by_the_modules_they_live_in(before):
    """Whatever was imported before, ``tdedge.compress`` and ``tdedge.compose`` are functions."""
    code = (
        f"import tdedge\n{before}\n"
        "from tdedge.compress import CompressionReport\n"
        "from tdedge import compress\n"
        "print(type(tdedge.compress).__name__, type(tdedge.compose).__name__, type(compress).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["function"] * 3
