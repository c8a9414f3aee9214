"""The errors of this package; ``exit_code`` is what a command line exits with.

    RuntimesError
    ├── RuntimeFailed       exit 1   a runtime or a worker process failed
    ├── RuntimeInputError   exit 2   unreadable model, wrong input, wrong option
    └── RuntimeMissing      exit 3   a runtime is not installed

A message is one line that names the value, what was expected and what to do.
"""

from __future__ import annotations


class RuntimesError(Exception):
    """Base of every error of this package that is shown to the user as one line."""

    exit_code: int = 1

    @property
    def message(self) -> str:
        """The one line that is shown."""
        return " ".join(str(self).split())


class RuntimeFailed(RuntimesError):
    """A runtime failed while it ran, or a worker process died or took too long."""

    exit_code = 1


class RuntimeInputError(RuntimesError):
    """The model file, an input array or an option is wrong."""

    exit_code = 2


class RuntimeMissing(RuntimesError):
    """A runtime is not installed.

    Attributes:
        package: Name of the missing package, or empty where only the message is known.
        install: The command line that installs it, or empty.
    """

    exit_code = 3

    def __init__(self, message: str, *, package: str = "", install: str = "") -> None:
        super().__init__(message)
        self.package = package
        self.install = install

    @classmethod
    def for_package(cls, package: str, install: str, detail: str = "") -> RuntimeMissing:
        """The error for ``package``; ``detail`` says why an installed one cannot be imported."""
        state = f"cannot be imported ({detail})" if detail else "is not installed"
        return cls(f"{package} {state}; install it with: {install}", package=package, install=install)


def first_line(error: BaseException) -> str:
    """The first non-empty line of an exception's text, or its type where it has none."""
    for line in str(error).splitlines():
        if line.strip():
            return line.strip()
    return type(error).__name__
