"""Work side by side: all of it, in order, each piece in one thread."""

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from utils.base.machine import helpers, side_by_side


@pytest.mark.parametrize("workers", [0, 1, 3, 50])
def test_results_come_in_order(workers):
    def work(number):
        time.sleep(0.01 * (number % 3))
        return number**2

    assert list(side_by_side(work, range(20), workers)) == [number**2 for number in range(20)]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_no_more_is_begun_than_the_caller_will_soon_take(workers):
    """However many groups there are: here they never end."""
    begun = []
    results = side_by_side(begun.append, itertools.count(), workers)
    for taken in range(1, 20):
        next(results)
        time.sleep(0.002)
        assert taken <= len(begun) <= taken + 4 * workers
    results.close()


def test_several_work_at_a_time():
    meeting = threading.Barrier(3, timeout=10)
    assert len(list(side_by_side(lambda _: meeting.wait(), range(6), 3))) == 6


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_each_computes_in_its_own_thread_and_the_others_are_given_back(workers):
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        assert set(side_by_side(lambda _: torch.get_num_threads(), range(8), workers)) == {1}
        assert torch.get_num_threads() == 4
    finally:
        torch.set_num_threads(before)


def test_helpers_compute_in_their_own_thread_and_leave_the_caller_its_own():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        with helpers(3) as pool:
            assert set(pool.map(lambda _: torch.get_num_threads(), range(8))) == {1}
            assert torch.get_num_threads() == 4
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(torch.get_num_threads).result() == 4
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_stops_the_others(workers):
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.01)
        if number == 3:
            raise ValueError("three")

    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="three"):
        list(side_by_side(work, range(200), workers))
    assert len(begun) < 20 and torch.get_num_threads() == before
