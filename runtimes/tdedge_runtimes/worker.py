"""The process that measures: ``python -m tdedge_runtimes.worker < job.json > result.json``.

One JSON job on standard input, one JSON object on standard output, nothing else there: while the job runs,
file descriptor 1 leads to standard error, so that nothing a runtime's native code prints can mix with the
result. A failure is a result too: ``{"schema_version": 1, "kind": "error", "error": LINE, "exit_code":
N}``, and the process exits with that code. The jobs are described in ``tdedge_runtimes.jobs``.

The package alone makes a runnable archive for a device (it needs NumPy and one runtime there)::

    python -m zipapp FOLDER_WITH_THE_PACKAGE -m tdedge_runtimes.worker:start -o worker.pyz

There it is started with ``--until-eof FOLDER``: the job is then the first line alone, the process ends at
once when standard input does (the connection is gone), and FOLDER is made for what it writes meanwhile; it
is removed with the process, except where the job wrote its outputs there.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from tdedge_runtimes.errors import RuntimeInputError, RuntimeMissing, RuntimesError
from tdedge_runtimes.figures import SCHEMA_VERSION
from tdedge_runtimes.privacy import silence
from tdedge_runtimes.process import end_at_eof, limit_threads, pin, read_line

_INTERRUPTED = 130

#: The option after which standard input ends the process; the folder for what it writes follows.
UNTIL_EOF = "--until-eof"


def main(arguments: Sequence[str] = ()) -> int:
    """Do the job on standard input; the exit code of the process."""
    scratch = arguments[1] if len(arguments) == 2 and arguments[0] == UNTIL_EOF else None
    result_stream = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        result = _do(sys.stdin.buffer.read() if scratch is None else _first_line(scratch))
    except RuntimesError as error:
        result = _error(error.message, error.exit_code)
    except KeyboardInterrupt:
        result = _error("interrupted", _INTERRUPTED)
    except Exception as error:
        traceback.print_exc()
        result = _error(f"unexpected {type(error).__name__}: {error}", 1)
    if scratch is not None:
        with contextlib.suppress(OSError):  # it holds the outputs of the job
            os.rmdir(scratch)  # noqa: PTH106 - a string of the device
    with os.fdopen(result_stream, "w", encoding="utf-8") as stream:
        json.dump(result, stream, allow_nan=False)
        stream.write("\n")
    return int(result.get("exit_code", 0))


def start() -> NoReturn:
    """``main`` as the whole program: ends the process with the exit code, also from an archive."""
    raise SystemExit(main(sys.argv[1:]))


def _first_line(scratch: str) -> bytes:
    text = read_line()
    try:
        os.makedirs(scratch, exist_ok=True)  # noqa: PTH103 - a string of the device
    except OSError as error:
        raise RuntimeInputError(f"cannot make the folder {scratch!r}: {error.strerror}") from None
    tempfile.tempdir = scratch
    end_at_eof(scratch)
    return text


def _do(text: bytes) -> dict[str, Any]:
    try:
        job = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RuntimeInputError(f"the job is not JSON: {error}") from None
    if not isinstance(job, dict):
        raise RuntimeInputError(f"the job is a JSON {type(job).__name__}; expected an object")
    if job.get("schema_version") != SCHEMA_VERSION:
        raise RuntimeInputError(
            f"the job has schema_version {job.get('schema_version')!r}; this worker does {SCHEMA_VERSION}"
        )
    options = job.get("options")
    options = options if isinstance(options, dict) else {}
    threads, cpus = options.get("threads", 1), options.get("cpus", [])
    if isinstance(threads, int) and threads >= 1:  # anything else is refused with the other options
        limit_threads(threads)
    if isinstance(cpus, list):
        pin(cpus)
    silence()
    # Imported only now: NumPy and the runtimes read the variables above once, while they are loaded.
    try:
        from tdedge_runtimes.jobs import do_job
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "numpy":
            raise
        raise RuntimeMissing.for_package("numpy", "pip install numpy") from None

    return do_job(job)


def _error(line: str, exit_code: int) -> dict[str, Any]:
    one_line = " ".join(line.split())
    return {"schema_version": SCHEMA_VERSION, "kind": "error", "error": one_line, "exit_code": exit_code}


if __name__ == "__main__":
    start()
