"""The meeting place of page and caller, without a network."""

import threading
import time

import pytest

from tdedge.errors import DeviceError
from tdedge_devices.web.exchange import Exchange, Gone, Job, Over


def nothing():
    pass


def handed(name="j"):
    return Job(document={"id": name})


def do(exchange, job, timeout_s=10):
    outcome = []

    def wait():
        try:
            outcome.append(exchange.do(job, timeout_s, nothing))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread, outcome


def test_a_job_goes_to_the_page_and_back():
    exchange = Exchange()
    page = exchange.arrive({"isolated": True})
    assert exchange.facts == {"isolated": True}
    thread, outcome = do(exchange, handed())
    job = exchange.next_job(page, 5)
    assert job.id == "j"
    assert exchange.beat(page) == "j"
    exchange.answer(page, "j", {"done": 1})
    thread.join()
    assert outcome == [{"done": 1}]
    assert exchange.beat(page) is None
    with pytest.raises(Over):
        exchange.answer(page, "j", {"done": 2})


def test_a_page_that_asks_again_gets_the_same_job():
    exchange = Exchange()
    page = exchange.arrive({})
    thread, outcome = do(exchange, handed())
    assert exchange.next_job(page, 5) is exchange.next_job(page, 5)
    exchange.answer(page, "j", {})
    thread.join()
    assert outcome == [{}]


def test_no_job_in_time_is_none():
    exchange = Exchange()
    assert exchange.next_job(exchange.arrive({}), 0.05) is None


def test_a_silent_page_is_gone():
    exchange = Exchange(silence_s=0.3)
    page = exchange.arrive({})
    thread, outcome = do(exchange, handed())
    exchange.next_job(page, 5)
    thread.join()
    assert isinstance(outcome[0], DeviceError)
    assert "nothing was heard of the page for 0.3 s" in str(outcome[0])
    assert not exchange.has_page()
    with pytest.raises(Gone):
        exchange.beat(page)


def test_signs_of_life_keep_a_page():
    exchange = Exchange(silence_s=0.3)
    page = exchange.arrive({})
    for _ in range(6):
        time.sleep(0.1)
        exchange.beat(page)
    assert exchange.has_page()


def test_a_reload_in_mid_job_fails_it_and_the_new_page_is_ready():
    exchange = Exchange()
    old = exchange.arrive({})
    thread, outcome = do(exchange, handed())
    exchange.next_job(old, 5)
    new = exchange.arrive({})
    thread.join()
    assert "reloaded, or opened a second time, in the middle" in str(outcome[0])
    with pytest.raises(Gone):
        exchange.next_job(old, 1)
    assert exchange.next_job(new, 0.05) is None


def test_a_page_closed_before_the_job_is_noticed():
    exchange = Exchange()
    exchange.leave(exchange.arrive({}))
    with pytest.raises(DeviceError, match="closed before it took the job"):
        exchange.do(handed(), 5, nothing)
    assert not exchange.wait_for_page(0.05, nothing)


def test_a_job_that_takes_too_long_is_taken_from_the_page():
    exchange = Exchange()
    page = exchange.arrive({})
    thread, outcome = do(exchange, handed(), timeout_s=0.3)
    exchange.next_job(page, 5)
    thread.join()
    assert "longer than 0.3 s" in str(outcome[0])
    assert exchange.beat(page) is None
    with pytest.raises(Over):  # the page, which is still wanted, comes too late with it
        exchange.fail(page, "j", DeviceError("no"))
    thread, outcome = do(exchange, handed("k"))
    assert exchange.next_job(page, 5).id == "k"
    exchange.answer(page, "k", {})
    thread.join()
    assert outcome == [{}]


def test_what_the_caller_checks_ends_the_wait():
    exchange = Exchange()
    exchange.arrive({})

    def check():
        raise DeviceError("the browser ended")

    with pytest.raises(DeviceError, match="the browser ended"):
        exchange.do(handed(), 5, check)
    exchange.leave("unknown")
    assert exchange.has_page()
