"""Ways to run a batch of tasks in Python: one after the other, concurrent.futures' two pools, and dask's processes."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor

from scenario import Place, Scenario

# Longer than any batch: a bound to the wait for a worker that hangs.
TIMEOUT_S = 300
# As the articles' processes started, and Python's do on Linux up to 3.13: a copy of the program, with all that it has imported. A
# cell has no other threads when it forks. Elsewhere a new interpreter.
START_METHOD = "fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn"


class Serial:
    def __init__(self, scenario: Scenario) -> None:
        self.task = scenario.task

    def batch(self, inputs: list) -> list:
        return [self.task(task) for task in inputs]

    def close(self) -> None:
        pass


class Pool:
    """A pool that is kept between batches, as the Rust executors are, or one that is started and ended in each batch."""

    def __init__(self, scenario: Scenario, kind: str, workers: int) -> None:
        self.task, self.kind, self.workers = scenario.task, kind, workers
        self.pool = None if scenario.cold else self.start()

    def start(self) -> Executor:
        if self.kind == "threads":
            # A pool starts a thread only if none is idle. With the barrier none is before all have been started.
            return ThreadPoolExecutor(self.workers, initializer=threading.Barrier(self.workers).wait)
        return ProcessPoolExecutor(self.workers, mp_context=multiprocessing.get_context(START_METHOD))

    def batch(self, inputs: list) -> list:
        if self.pool is None:
            with self.start() as pool:
                return list(pool.map(self.task, inputs, timeout=TIMEOUT_S))
        return list(self.pool.map(self.task, inputs, timeout=TIMEOUT_S))

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)


class Dask:
    """A local cluster of processes with one thread each: what article 004 used for its pictures. dask's other scheduler for
    processes, `dask.compute(scheduler="processes")`, is ProcessPoolExecutor again, started anew for each computation."""

    def __init__(self, scenario: Scenario, workers: int, place: Place, kernels: int) -> None:
        import dask
        import distributed

        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        dask.config.set({
            "temporary-directory": place.folder,
            # The workers' nannies set these themselves.
            "distributed.nanny.pre-spawn-environ": dict.fromkeys(variables, kernels),
            # A cluster that was stopped has not been heard for a while.
            "distributed.scheduler.worker-ttl": None,
            # So that the workers' own clean-up does not fill the terminal.
            "logging.distributed": "error",
        })
        self.task, self.delayed = scenario.task, dask.delayed
        self.cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None, memory_limit=None)
        self.client = distributed.Client(self.cluster, timeout=60)
        self.client.wait_for_workers(workers, timeout=60)

    def batch(self, inputs: list) -> list:
        # Not pure: dask would keep the answers of the batch before.
        calls = [self.delayed(self.task, pure=False)(task) for task in inputs]
        return self.client.gather(self.client.compute(calls))

    def close(self) -> None:
        self.client.close(timeout=10)
        self.cluster.close(timeout=10)


def make(scenario: Scenario, kind: str, workers: int, place: Place, kernels: int) -> Serial | Pool | Dask:
    if kind == "serial":
        return Serial(scenario)
    if kind == "dask":
        return Dask(scenario, workers, place, kernels)
    return Pool(scenario, kind, workers)
