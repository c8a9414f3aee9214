"""The closed tree of errors a user can meet, each with its exit code.

    TdedgeError
    ├── GateError        exit 1   parity, budget or regression gate failed
    ├── UsageError       exit 2   wrong option, bad plan, unreadable or unsafe input
    ├── MissingError     exit 3   a runtime or optional extra is not installed
    └── DeviceError      exit 4   a device cannot be reached

An interrupted command (Ctrl-C) exits with 130. A message is one line that names the value, what was
expected and what to do.
"""

from __future__ import annotations


class TdedgeError(Exception):
    """Base of every error that is shown to the user as one line, without a traceback."""

    exit_code: int = 1

    @property
    def message(self) -> str:
        """The one line that is shown."""
        return " ".join(str(self).split())


class GateError(TdedgeError):
    """The work was done and a gate (parity, budget, regression) refused the result."""

    exit_code = 1


class UnsupportedError(GateError):
    """A network holds something a target cannot express; names the node and what to do."""


class UsageError(TdedgeError):
    """The user's input or option is wrong."""

    exit_code = 2


class MissingError(TdedgeError):
    """A runtime or an optional extra is not installed; the message holds the install line."""

    exit_code = 3

    @classmethod
    def extra(cls, package: str, extra: str) -> MissingError:
        """The error for ``package`` that comes with the optional ``extra``."""
        return cls(f"{package} is not installed; install it with: pip install 'tdedge[{extra}]'")


class DeviceError(TdedgeError):
    """A device cannot be reached."""

    exit_code = 4


EXIT_INTERRUPTED = 130
