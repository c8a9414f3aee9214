import asyncio
import signal
import threading

import pytest

from tdedge.errors import DeviceError
from tdedge_devices.loop_thread import LoopThread


def test_calls_give_results_and_errors():
    thread = LoopThread("test")

    async def fail():
        raise ValueError("no")

    assert thread.call(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ValueError, match="no"):
        thread.call(fail())
    thread.close()
    thread.close()


def test_an_interrupted_call_cleans_up_first():
    interrupt = (threading.main_thread().ident, signal.SIGINT)
    thread, steps = LoopThread("test"), []

    async def wait():
        try:
            threading.Timer(0.1, signal.pthread_kill, interrupt).start()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            steps.append("clean")

    with pytest.raises(KeyboardInterrupt):
        thread.call(wait())
    assert steps == ["clean"]
    thread.close()


def test_closing_cancels_what_still_runs():
    thread, steps = LoopThread("test"), []

    async def wait():
        try:
            await asyncio.sleep(60)
        finally:
            steps.append("clean")

    thread.spawn(wait())
    thread.call(asyncio.sleep(0))
    thread.close()
    assert steps == ["clean"]
    with pytest.raises(DeviceError, match="the connection to test is closed"):
        thread.call(asyncio.sleep(0))
