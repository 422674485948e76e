"""Run many jobs in parallel: in processes on this machine, or on a Dask cluster.

Both are executors as in `concurrent.futures`, so the callers do not depend on the choice. On a
cluster the executor is Dask's: pure Python, the same scheduler for a laptop, Slurm, Kubernetes or
plain ssh (https://docs.dask.org/en/stable/deploying.html).
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

from vase import process
from vase.errors import ConfigError, optional_package

JobT = TypeVar("JobT")
ResultT = TypeVar("ResultT")

SCHEDULER_TIMEOUT = 20  # seconds to wait for a scheduler


@contextmanager
def executor(workers: int, address: str | None = None) -> Iterator[Executor]:
    """Open an executor: `workers` local processes, or the Dask scheduler at `address`.

    If the caller leaves with an error or Ctrl-C, pending jobs are cancelled; if the caller is
    killed, its worker processes end.
    """
    if address is None:
        spawn = get_context("spawn")
        pool = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin_worker)
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)
        return
    with _client(address) as client:
        yield client.get_executor()


def _begin_worker() -> None:
    """Train fast; and end if the caller is killed, since a worker would run on for hours."""
    process.prepare_process()
    caller = parent_process()
    if caller is not None:
        Thread(target=_watch, args=(caller.sentinel,), daemon=True).start()


def _watch(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


def _client(address: str) -> Any:
    dask = optional_package("distributed", "A cluster needs Dask", "cluster")
    try:
        return dask.Client(address, timeout=SCHEDULER_TIMEOUT)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"There is no Dask scheduler at '{address}': {error}. "
            "Start one with `dask scheduler`, and give the address that it prints."
        ) from None


def completed(
    function: Callable[[JobT], ResultT], jobs: Sequence[JobT], pool: Executor
) -> Iterator[tuple[JobT, ResultT | Exception]]:
    """Yield each job with its result or exception, as jobs end; a failure stops no other job."""
    pending = {pool.submit(function, job): job for job in jobs}
    for future in as_completed(pending):
        error = future.exception()
        if isinstance(error, Exception):
            yield pending[future], error
        else:
            yield pending[future], future.result()


class Progress:
    """Reports the number of finished jobs, the time so far, and the estimated time left."""

    def __init__(self, jobs: int) -> None:
        self.jobs, self.done, self.began = jobs, 0, perf_counter()

    def step(self, what: str) -> str:
        """Count one more finished job, and return its progress line."""
        self.done += 1
        minutes = (perf_counter() - self.began) / 60
        left = minutes / self.done * (self.jobs - self.done)
        return f"{self.done}/{self.jobs}  {what}  {minutes:.1f} min, ETA {left:.1f} min"
