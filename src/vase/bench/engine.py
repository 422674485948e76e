"""Many jobs side by side: on this machine's cores, or on a cluster by the address of its scheduler.

Both are executors in the sense of `concurrent.futures`, so that nothing else knows the difference.
On a cluster the executor is Dask's: pure Python, the same scheduler for a laptop, Slurm, Kubernetes
or plain ssh (https://docs.dask.org/en/stable/deploying.html).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from threading import Thread
from time import perf_counter
from typing import Any, TypeVar

from vase.errors import ConfigError

Job = TypeVar("Job")
Result = TypeVar("Result")

PATIENCE = 20  # seconds until a scheduler that does not answer is taken for none


@contextmanager
def executor(workers: int, address: str | None = None) -> Iterator[Executor]:
    """`workers` processes here, or the workers of the Dask scheduler at `address`.

    What has not been begun when the caller leaves, by an error or Ctrl-C, is never begun; if the
    caller is killed, so are its processes.
    """
    if address is None:
        spawn = get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_end_with_the_caller)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
        return
    with _client(address) as client:
        yield client.get_executor()


def _end_with_the_caller() -> None:
    """A worker whose caller was killed would go on for hours, and nobody would know."""
    caller = parent_process()
    if caller is not None:
        Thread(target=_watch, args=(caller.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _client(address: str) -> Any:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigError(
            "A cluster is reached through Dask, which is not installed. "
            "Install it with: pip install 'vase-lifelong[cluster]'"
        ) from None
    try:
        return Client(address, timeout=PATIENCE)  # type: ignore[no-untyped-call]
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"There is no Dask scheduler at '{address}': {error}. "
            "Start one with `dask scheduler`, and give the address that it prints."
        ) from None


def completed(
    function: Callable[[Job], Result], jobs: Sequence[Job], pool: Executor
) -> Iterator[tuple[Job, Result | Exception]]:
    """Each job with what came of it, in the order in which they end; a failure spoils no other."""
    pending = {pool.submit(function, job): job for job in jobs}
    for future in as_completed(pending):
        error = future.exception()
        if isinstance(error, Exception):
            yield pending[future], error
        else:
            yield pending[future], future.result()


class Progress:
    """How far, how long it took, and how long it will take, in words."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.done, self.began = jobs, 0, perf_counter()

    def step(self, what: str) -> str:
        """The line for one more job that is done."""
        self.done += 1
        minutes = (perf_counter() - self.began) / 60
        left = minutes / self.done * (self.jobs - self.done)
        return f"{self.done}/{self.jobs}  {what}  {minutes:.1f} min, ETA {left:.1f} min"
