"""Who waits for whom: one page that asks for jobs, and one caller that waits for the result of a job.

A page announces itself (``arrive``), asks for jobs (``next_job``), says that it lives (``beat``) and answers
(``answer``, ``fail``). The newest page is *the* page; an older one is told to stop. A job fails when its page
leaves, is replaced, or falls silent.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tdedge.errors import DeviceError

#: Seconds without a sign of life after which a page counts as gone. It sends one every two seconds, but in
#: WebKit only when the page itself has a moment, which loading and long inferences do not leave it.
SILENCE_S = 60.0


class Gone(Exception):
    """The page is not the current one, or everything is over: it should stop."""


class Over(Exception):
    """The job is no longer wanted, or was never this page's; the page may ask for another."""


@dataclass
class Job:
    """One job on its way through the page.

    Attributes:
        document: what the page is told.
        models: label -> model file, which the page may fetch by its place.
        inputs: from the description of a model's inputs to their bytes; called when the page asks.
        outputs: what the page posted as outputs.
    """

    document: dict[str, Any]
    models: dict[str, Path] = field(default_factory=dict)
    inputs: Callable[[str, list[dict[str, Any]]], bytes] | None = None
    outputs: bytes | None = None
    page: str | None = None
    result: dict[str, Any] | None = None
    error: BaseException | None = None

    @property
    def id(self) -> str:
        """The name by which page and server speak of it."""
        return str(self.document["id"])

    @property
    def is_over(self) -> bool:
        """Whether it has a result or an error."""
        return self.result is not None or self.error is not None


class Exchange:
    """The state shared by the threads of the server and the caller."""

    def __init__(self, *, silence_s: float = SILENCE_S) -> None:
        self._changed = threading.Condition()
        self._silence_s = silence_s
        self._page: str | None = None
        self._facts: dict[str, Any] = {}
        self._heard = 0.0
        self._job: Job | None = None
        self._closed = False

    # The page's side.

    def arrive(self, facts: Mapping[str, Any]) -> str:
        """A page has opened; the name it is given. A job of an earlier page fails."""
        with self._changed:
            if self._closed:
                raise Gone
            self._drop("the page was reloaded, or opened a second time, in the middle of the job")
            self._page, self._facts, self._heard = secrets.token_urlsafe(8), dict(facts), time.monotonic()
            self._changed.notify_all()
            return self._page

    def next_job(self, page: str, timeout_s: float) -> Job | None:
        """The job to do; None where none came within ``timeout_s``.

        Asked again while its job is not answered, a page gets the same job again: the first answer was lost.

        Raises:
            Gone: the page is no longer the current one.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            while True:
                self._check(page)
                job = self._job
                if job is not None and not job.is_over and job.page in (None, page):
                    job.page = page
                    return job
                left = end - time.monotonic()
                if left <= 0:
                    return None
                self._changed.wait(min(left, 1.0))

    def beat(self, page: str) -> str | None:
        """A sign of life; the name of the job the page should be doing, or None.

        Raises:
            Gone: the page is no longer the current one.
        """
        with self._changed:
            self._check(page)
            job = self._job
            return job.id if job is not None and not job.is_over and job.page == page else None

    def job_of(self, page: str, job_id: str) -> Job:
        """The unanswered job of that name.

        Raises:
            Gone: the page is no longer the current one.
            Over: there is none, or it is another page's.
        """
        with self._changed:
            self._check(page)
            job = self._job
            if job is None or job.is_over or job.page != page or job.id != job_id:
                raise Over
            return job

    def model(self, job_id: str, place: str) -> Path | None:
        """The model file at a place of the current job, or None."""
        with self._changed:
            job = self._job
            if job is None or job.id != job_id:
                return None
            return {str(i): path for i, path in enumerate(job.models.values())}.get(place)

    def answer(self, page: str, job_id: str, result: dict[str, Any]) -> None:
        """The result of a job.

        Raises:
            Gone, Over: as ``job_of``.
        """
        job = self.job_of(page, job_id)
        with self._changed:
            job.result = result
            self._changed.notify_all()

    def fail(self, page: str, job_id: str, error: BaseException) -> None:
        """A job could not be done.

        Raises:
            Gone, Over: as ``job_of``.
        """
        job = self.job_of(page, job_id)
        with self._changed:
            job.error = error
            self._changed.notify_all()

    def leave(self, page: str) -> None:
        """The page says that it is being closed or reloaded."""
        with self._changed:
            if page == self._page:
                self._drop("the page was closed or reloaded in the middle of the job")
                self._page = None
                self._changed.notify_all()

    # The caller's side.

    @property
    def facts(self) -> dict[str, Any]:
        """What the current page said about its browser."""
        with self._changed:
            return dict(self._facts)

    def has_page(self) -> bool:
        """Whether a page is open and has been heard of lately."""
        with self._changed:
            self._look()
            return self._page is not None

    def wait_for_page(self, timeout_s: float, check: Callable[[], None]) -> bool:
        """Wait until a page is open; False where none came. ``check`` is called meanwhile, and may raise."""
        end = time.monotonic() + timeout_s
        with self._changed:
            while True:
                self._look()
                if self._page is not None:
                    return True
                check()
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 0.2))

    def do(self, job: Job, timeout_s: float, check: Callable[[], None]) -> dict[str, Any]:
        """Hand the page a job and wait for its result.

        Raises:
            DeviceError: the page left, fell silent, or took too long.
            RuntimesError: what the page said went wrong.
        """
        end = time.monotonic() + timeout_s
        with self._changed:
            self._job = job
            self._changed.notify_all()
            try:
                while not job.is_over:
                    self._look()
                    if self._page is None and job.error is None:
                        raise DeviceError("the page was closed before it took the job; open the link again")
                    check()
                    left = end - time.monotonic()
                    if left <= 0:
                        raise DeviceError(f"the page took longer than {timeout_s:g} s and was told to stop")
                    self._changed.wait(min(left, 0.2))
            finally:
                self._job = None
                self._changed.notify_all()
        if job.error is not None:
            raise job.error
        assert job.result is not None
        return job.result

    def close(self) -> None:
        """Tell every page that asks from now on that all is over."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _check(self, page: str) -> None:
        if self._closed or page != self._page:
            raise Gone
        self._heard = time.monotonic()

    def _look(self) -> None:
        """Notice a page that fell silent."""
        if self._page is not None and time.monotonic() - self._heard > self._silence_s:
            self._drop(
                f"nothing was heard of the page for {self._silence_s:g} s: the browser was closed, the "
                "screen went off, or the page is no longer in front"
            )
            self._page = None

    def _drop(self, reason: str) -> None:
        job = self._job
        if job is not None and job.page is not None and not job.is_over:
            job.error = DeviceError(f"{reason}; run again")
            self._changed.notify_all()
