"""Several at a time: what waits for an answer of Stripe's waits side by side."""

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each_abreast(items: Iterator[_Item], act: Callable[[_Item], _Result], threads: int) -> list[_Result]:
    """Act on every item, so many at a time. The next is taken from the iterator when there is a thread for it.

    Errors  as act; nothing more is taken then, and what is at hand is finished
    """
    begun = list(itertools.islice(items, 2))
    if len(begun) < 2:
        return [act(item) for item in begun]
    coming = itertools.chain(begun, items)
    lock, has_failed = threading.Lock(), threading.Event()
    results: list[_Result] = []

    def take() -> Iterator[_Item]:
        while not has_failed.is_set():
            with lock:
                taken = list(itertools.islice(coming, 1))
            if not taken:
                return
            yield taken[0]

    def work() -> None:
        results.extend(act(item) for item in take())

    def look(ended: "Future[None]") -> None:
        if ended.exception() is not None:
            has_failed.set()

    with ThreadPoolExecutor(threads, thread_name_prefix="corkage-worker") as pool:
        working = [pool.submit(work) for _ in range(threads)]
        for each in working:
            each.add_done_callback(look)
        for each in working:
            each.result()
    return results
