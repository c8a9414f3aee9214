"""Exit codes and the one line."""

import pytest

from tdedge_runtimes.errors import (
    RuntimeFailed,
    RuntimeInputError,
    RuntimeMissing,
    RuntimesError,
    first_line,
)


@pytest.mark.parametrize(
    ("kind", "code"), [(RuntimesError, 1), (RuntimeFailed, 1), (RuntimeInputError, 2), (RuntimeMissing, 3)]
)
def test_codes_and_message(kind, code):
    error = kind("two\n  lines")
    assert (error.exit_code, error.message) == (code, "two lines")


def test_a_missing_package_says_how_to_install_it():
    error = RuntimeMissing.for_package("openvino", "pip install 'tdedge[openvino]'")
    assert error.message == "openvino is not installed; install it with: pip install 'tdedge[openvino]'"
    assert (error.package, error.install) == ("openvino", "pip install 'tdedge[openvino]'")
    broken = RuntimeMissing.for_package("openvino", "pip install x", "libtbb.so: cannot open")
    assert broken.message.startswith("openvino cannot be imported (libtbb.so: cannot open); install")


def test_first_line():
    assert first_line(ValueError("\n\n  one \n two")) == "one"
    assert first_line(ValueError()) == "ValueError"
