from tdedge import errors


def test_every_error_has_the_documented_exit_code():
    codes = {
        errors.GateError: 1,
        errors.UnsupportedError: 1,
        errors.UsageError: 2,
        errors.MissingError: 3,
        errors.DeviceError: 4,
    }
    assert {kind: kind("x").exit_code for kind in codes} == codes
    assert errors.EXIT_INTERRUPTED == 130


def test_message_is_one_line():
    assert errors.UsageError("a\n  b\n").message == "a b"


def test_missing_extra_names_the_install_line():
    assert "pip install 'tdedge[openvino]'" in errors.MissingError.extra("openvino", "openvino").message
