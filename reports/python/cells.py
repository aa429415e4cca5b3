"""Starts the processes of variants, asks them for observations, and leaves nothing of them behind."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from scenario import Place, Scenario

HERE = Path(__file__).resolve().parent
FIXTURES = HERE.parents[1] / "fixtures" / "python"
# The longest that an observation, or a start, may take.
TIMEOUT_S = 300
# How long a cell may take to end by itself.
END_S = 20
# How long a stopped cluster may catch up with its clocks before it is observed.
CATCH_UP_S = 0.3
KERNELS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Failed(Exception):
    """What went wrong, as a sentence."""


class Lines:
    """Reads lines from a pipe, with a bound to each wait."""

    def __init__(self, pipe) -> None:
        self.pipe, self.buffer = pipe, b""
        self.selector = selectors.DefaultSelector()
        self.selector.register(pipe, selectors.EVENT_READ)

    def next(self, timeout_s: float) -> str | None:
        """The next line; `None` at the end. Fails if there is neither in time."""
        until = time.monotonic() + timeout_s
        while b"\n" not in self.buffer:
            if not self.selector.select(max(0.0, until - time.monotonic())):
                raise Failed(f"no answer within {timeout_s:.0f} s")
            read = os.read(self.pipe.fileno(), 1 << 16)
            if not read:
                return None
            self.buffer += read
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()

    def close(self) -> None:
        self.selector.close()
        self.pipe.close()


def end_group(process: subprocess.Popen, timeout_s: float) -> None:
    """Waits for a process that leads a group, then kills what is left of the group."""
    until = time.monotonic() + timeout_s
    # Not reaped before the group is killed: until then no other process can have its number.
    while not os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) and time.monotonic() < until:
        time.sleep(0.01)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    process.wait()


class Cell:
    """The process of one variant. It leads a session of its own: Ctrl-C reaches it only through its owner."""

    def __init__(self, scenario: Scenario, kind: str, workers: int, place: Place, cpus: int) -> None:
        self.name, self.scenario, self.pauses = f"{kind}/{workers}", scenario, kind == "dask"
        kernels = cpus if scenario.nested else 1
        environment = dict(os.environ, PYTHONPATH=f"{FIXTURES}{os.pathsep}{HERE}", PYTHONDONTWRITEBYTECODE="1",
                           # A proxy cannot reach the servers, and would be measured.
                           no_proxy="*", NO_PROXY="*")
        # Before numpy is loaded, which reads them once.
        environment.update(dict.fromkeys(KERNELS, str(kernels)))
        self.errors = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "cell.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            env=environment, start_new_session=True, cwd=place.folder)
        self.lines = Lines(self.process.stdout)
        self.send(json.dumps({"family": scenario.task.__module__, "scenario": scenario.name, "kind": kind,
                              "workers": workers, "kernels": kernels, "place": asdict(place)}))

    def send(self, line: str) -> None:
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # The answer says why.

    def read(self) -> dict:
        try:
            line = self.lines.next(TIMEOUT_S)
        except Failed as failure:
            raise Failed(f"{self.scenario.name} {self.name}: {failure}") from None
        answer = json.loads(line) if line else {"error": "it ended"}
        if "error" in answer:
            raise Failed(f"{self.scenario.name} {self.name}: {answer['error']}{self.said()}")
        return answer

    def said(self) -> str:
        self.errors.seek(0)
        text = self.errors.read().decode(errors="replace").strip()
        return f"\n{text[-2_000:]}" if text else ""

    def signal(self, number: int) -> None:
        """Sends a signal to the cell and to all that it has started."""
        os.killpg(self.process.pid, number)

    def pause(self) -> None:
        """Stops a cluster, whose processes take a seventh of a CPU when they have nothing to do."""
        if self.pauses:
            self.signal(signal.SIGSTOP)

    def observe(self) -> float:
        """Seconds of a batch."""
        if self.pauses:
            self.signal(signal.SIGCONT)
            time.sleep(CATCH_UP_S)
        self.send("")
        seconds = self.read()["seconds"]
        self.pause()
        return seconds

    def stop(self) -> None:
        """Tells it to end; `close` waits for it."""
        if self.pauses:
            self.signal(signal.SIGCONT)
        try:
            self.process.stdin.close()
        except OSError:
            pass

    def close(self) -> None:
        self.stop()
        end_group(self.process, END_S)
        self.lines.close()
        self.errors.close()
