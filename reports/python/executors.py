"""Ways to run a scenario's tasks in Python: one after the other, concurrent.futures' two pools, and dask on one of them."""

from __future__ import annotations

import os
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from importlib.metadata import version

import dask
import threadpoolctl

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
# Longer than any batch.
TIMEOUT = 300


def versions() -> dict[str, str]:
    return {name: version(name) for name in ("dask", "numpy", "pandas", "pillow", "scikit-learn")}


def limit_kernels(threads: int) -> None:
    """Sets how many threads the kernels of numpy and the like may use in this process."""
    threadpoolctl.threadpool_limits(threads)


def nothing(_: int) -> int:
    # So long that no worker takes all of the warm-up.
    time.sleep(0.02)
    return os.getpid()


class Executor:
    def __init__(self, scenario, kind: str, workers: int) -> None:
        self.scenario, self.kind, self.workers = scenario, kind, workers
        self.name = f"{kind}/{workers}"

    def inputs(self, inputs: list) -> list:
        return inputs[:self.workers] if self.scenario.weak else inputs

    def run(self, inputs: list) -> tuple[float, list]:
        """The seconds of a batch, from its beginning until all answers are there, and the answers."""
        if self.scenario.nested:
            limit_kernels(CPUS)
        began = time.perf_counter()
        answers = self.batch(inputs)
        seconds = time.perf_counter() - began
        if self.scenario.nested:
            limit_kernels(1)
        return seconds, answers

    def batch(self, inputs: list) -> list:
        raise NotImplementedError

    def close(self) -> None:
        pass


class Serial(Executor):
    def __init__(self, scenario, tasks: int) -> None:
        super().__init__(scenario, "serial", tasks)

    def batch(self, inputs: list) -> list:
        return [self.scenario.task(task) for task in inputs]


class Pool(Executor):
    """A pool of concurrent.futures: kept between batches, or started and stopped in the clock."""

    def __init__(self, scenario, kind: str, workers: int) -> None:
        super().__init__(scenario, kind, workers)
        self.pool = None

    def start(self):
        if self.kind == "threads":
            return ThreadPoolExecutor(self.workers)
        # How it starts its processes is left to Python, as in the articles: by a fork, on Linux up to 3.13.
        kernels = CPUS if self.scenario.nested else 1
        return ProcessPoolExecutor(self.workers, initializer=limit_kernels, initargs=(kernels,))

    def warm(self):
        if self.pool is None:
            self.pool = self.start()
            list(self.pool.map(nothing, range(2 * self.workers), timeout=TIMEOUT))
        return self.pool

    def run(self, inputs: list) -> tuple[float, list]:
        if not self.scenario.cold:
            self.warm()
        return super().run(inputs)

    def batch(self, inputs: list) -> list:
        if self.scenario.cold:
            with self.start() as pool:
                return list(pool.map(self.scenario.task, inputs, timeout=TIMEOUT))
        return list(self.pool.map(self.scenario.task, inputs, timeout=TIMEOUT))

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None


class Dask(Pool):
    """dask's delayed calls on a pool of processes: article 004's way, with workers that are warm."""

    def __init__(self, scenario, workers: int) -> None:
        super().__init__(scenario, "processes", workers)
        self.name = f"dask/{workers}"

    def batch(self, inputs: list) -> list:
        calls = [dask.delayed(self.scenario.task, pure=False)(task) for task in inputs]
        return list(dask.compute(*calls, scheduler="processes", pool=self.pool, optimize_graph=False))
