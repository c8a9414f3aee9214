"""An event loop in a thread of its own, behind calls that wait."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from tdedge.errors import DeviceError

T = TypeVar("T")
_CLEANUP_S = 10.0


class LoopThread:
    """Runs coroutines; a call that is interrupted cancels its coroutine and waits until that has cleaned up.

    Args:
        name: what it belongs to, for messages.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine.

        Raises:
            DeviceError: the thread was closed.
        """
        ended = threading.Event()

        async def supervised() -> T:
            try:
                return await coroutine
            finally:
                ended.set()

        if self._loop.is_closed():
            coroutine.close()
            raise DeviceError(f"the connection to {self._name} is closed")
        future = asyncio.run_coroutine_threadsafe(supervised(), self._loop)
        try:
            return future.result()
        except CancelledError:
            coroutine.close()  # it may not have begun
            raise DeviceError(f"the connection to {self._name} was closed") from None
        except BaseException:
            future.cancel()
            ended.wait(_CLEANUP_S)
            raise

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Start a coroutine that nobody waits for."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def close(self) -> None:
        """Cancel what still runs and end the thread."""
        if self._loop.is_closed():
            return

        async def cancel() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_CLEANUP_S)
            await asyncio.get_running_loop().shutdown_default_executor()

        self.call(cancel())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLEANUP_S)
        if not self._thread.is_alive():
            self._loop.close()
