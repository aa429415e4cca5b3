"""The process of one variant: makes its own inputs and workers, warms up, and runs batches when it is told to.

A variant in a process of its own has no threads, no garbage and no memory of the others, as in the Rust programs. measure.py
starts it and sends one line of JSON, then an empty line for each observation; it answers each with a line of JSON, and ends
with its stdin.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import shutil
import signal
import sys
import time
import warnings
import zlib
from typing import TextIO

# Like the Rust cells: short batches are repeated until so much time is measured, at most so many times.
MEASURED_S, MAX_BATCHES = 0.02, 200
# All workers go to sleep before a batch.
PAUSE_S = 0.0002
WARM_UP_S, WARM_UP_BATCHES = 0.5, 5


def digest(answers: list) -> str:
    """A few characters that are the same for the same answers, arrays too."""
    check = 0
    for answer in answers:
        is_array = hasattr(answer, "nbytes")
        content = memoryview(answer).cast("B") if is_array else repr(answer).encode()
        check = zlib.crc32(content, check)
    return f"{check:08x}"


def serve(results: TextIO) -> None:
    order = json.loads(sys.stdin.readline())
    import executors
    from scenario import Place

    # Only the scenario's family: a fork copies what has been imported.
    family = importlib.import_module(order["family"])
    scenario = next(scenario for scenario in family.SCENARIOS if scenario.name == order["scenario"])
    place = Place(**order["place"])
    kind, workers = order["kind"], order["workers"]
    inputs = scenario.tasks(scenario.inputs(place), workers)
    executor = executors.make(scenario, kind, workers, place, order["kernels"])

    def batch() -> tuple[float, list]:
        gc.collect()
        time.sleep(PAUSE_S)
        began = time.perf_counter()
        answers = executor.batch(inputs)
        seconds = time.perf_counter() - began
        # Outside the clock, after each batch: a wrong answer is no time.
        scenario.check(inputs, answers)
        return seconds, answers

    def answer(**values: object) -> None:
        print(json.dumps(values), file=results, flush=True)

    try:
        seconds = 0.0
        for _ in range(1 if place.tiny else WARM_UP_BATCHES):
            took, answers = batch()
            seconds += took
            if seconds >= WARM_UP_S:
                break
        # Of a divided task, the parts together are what serial answers.
        whole = [part for answer in answers for part in answer] if scenario.split else answers
        answer(tasks=len(inputs), digest=digest(whole))
        del answers, whole
        # What is there by now is no garbage: collecting before a batch then takes microseconds.
        gc.collect()
        gc.freeze()
        for _ in sys.stdin:
            seconds, batches = 0.0, 0
            while batches == 0 or seconds < MEASURED_S and batches < MAX_BATCHES:
                seconds += batch()[0]
                batches += 1
            answer(seconds=seconds / batches, batches=batches)
    finally:
        # The others of the group may have been stopped, and a stopped process does not end.
        os.killpg(0, signal.SIGCONT)
        executor.close()
        # The owner does it, too, unless it was killed.
        for folder in (place.folder, place.memory):
            shutil.rmtree(folder, ignore_errors=True)


def wake_without_owner() -> None:
    """Goes on when the owner is gone, however it ended, to see the end of stdin; a cell may have been stopped by then."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGCONT)


def main() -> None:
    wake_without_owner()
    # Whatever a library prints goes to stderr.
    results = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # dask advises against large arrays in its calls, which is what article 004 measures.
    warnings.filterwarnings("ignore", message="Sending large graph")
    try:
        serve(results)
    except Exception as error:  # noqa: BLE001 - the sentence is for a person, whatever it was
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=results, flush=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
