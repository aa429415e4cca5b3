"""Measures the articles' tasks in Python, in turns with the Rust bench programs, and writes what `cargo parbench report --python`
reads. README.md says how, and what is in the clock."""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "fixtures" / "python")]
# So that a run leaves nothing in the checkout.
sys.dont_write_bytecode = True

if sys.version_info < (3, 11):
    sys.exit("error: Python 3.11 or later is needed")

# By the name of the distribution, that of the module.
LIBRARIES = {"numpy": "numpy", "pandas": "pandas", "dask": "dask", "distributed": "distributed", "requests": "requests",
             "pillow": "PIL", "scikit-learn": "sklearn"}

EXIT_FAILED, EXIT_UNUSABLE, EXIT_INTERRUPTED = 1, 2, 130


def missing() -> list[str]:
    from importlib.util import find_spec

    return [name for name, module in LIBRARIES.items() if find_spec(module) is None]


if missing():
    print(f"error: {', '.join(missing())} cannot be imported: pip install -r reports/python/requirements.txt", file=sys.stderr)
    sys.exit(EXIT_UNUSABLE)

import catalogue  # noqa: E402 - after the sentence about what is missing
import executors  # noqa: E402
import results  # noqa: E402
from cells import Cell, Failed  # noqa: E402
from rust import Rust  # noqa: E402
from scenario import Place, Scenario  # noqa: E402

CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
QUICK_ROUNDS = 3
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WITH_RUST = "it loads the server of the Rust programs, which --no-rust leaves out"


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def variants(scenario: Scenario, counts: list[int], check: bool) -> list[tuple[str, int]]:
    """Executors and worker counts, serial first: its answers are those that the others are held against."""
    serial = [("serial", count) for count in reversed(counts if scenario.weak else [1])]
    pools = [(kind, count) for kind in ("threads", "processes") for count in counts]
    # A cluster takes a second to start: measuring that would say nothing of tasks.
    dask = [] if scenario.cold or check else [("dask", 2)]
    return serial + pools + dask


class Run:
    """What all scenarios of a run have in common."""

    def __init__(self, rust: Rust | None, rounds: int, seed: int, check: bool) -> None:
        self.rust, self.rounds, self.check = rust, rounds, check
        self.draw = random.Random(seed)
        self.counts = catalogue.worker_counts(CPUS)

    def place(self, scenario: Scenario, stack: ExitStack) -> Place:
        def folder(inside: str | None) -> str:
            return stack.enter_context(
                tempfile.TemporaryDirectory(prefix="parbench-", dir=inside, ignore_cleanup_errors=True))

        notice = {scenario.server: self.rust.fixture(scenario.server)} if scenario.server else {}
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        return Place(folder(None), folder(memory), **notice, tiny=self.check)

    def measure(self, scenario: Scenario) -> dict:
        """All variants of a scenario, in rounds of a random order, each with a round of the Rust program."""
        counts = sorted(self.counts[scenario.name])
        rust: dict[str, list[float]] = {}
        with ExitStack() as folders, ExitStack() as ends:
            cells = []
            for kind, workers in variants(scenario, counts, self.check):
                cells.append(Cell(scenario, kind, workers, self.place(scenario, folders), CPUS))
                ends.callback(cells[-1].close)
            # All are told to end before the first is waited for.
            ends.callback(lambda: [cell.stop() for cell in cells])
            ready = [cell.read() for cell in cells]
            self.compare(scenario, cells, ready)
            if self.check:
                return {}
            python: dict[str, list[float]] = {cell.name: [] for cell in cells}
            for cell in cells:
                cell.pause()
            for number in range(self.rounds):
                for cell in self.draw.sample(cells, len(cells)):
                    python[cell.name].append(cell.observe())
                if self.rust:
                    beside = self.rust.measure(scenario.name, counts, number, scenario.weak)
                    for name, seconds in beside.items():
                        rust.setdefault(name, []).append(seconds)
        return {"tasks": ready[0]["tasks"], "weak": scenario.weak, "differs": scenario.differs,
                "variants": results.summary(python), "rust": results.summary(rust)}

    def compare(self, scenario: Scenario, cells: list[Cell], ready: list[dict]) -> None:
        """Refuses answers that are not those of serial; each cell has checked its own already."""
        expected: dict[int, str] = {}
        for cell, answer in zip(cells, ready):
            # With as many tasks as workers, serial has been there with each number of tasks.
            key = answer["tasks"] if scenario.weak else 0
            if scenario.exact and expected.setdefault(key, answer["digest"]) != answer["digest"]:
                raise Failed(f"{scenario.name}: the answers of {cell.name} differ from those of serial")


def select(arguments: argparse.Namespace) -> tuple[list[Scenario], dict[str, str]]:
    """The scenarios to measure, and why others are not."""
    left_out = dict(catalogue.LEFT_OUT)
    for name in arguments.only:
        if name not in catalogue.SCENARIOS:
            raise Failed(f"there is no Python form of `{name}`: {left_out.get(name, 'no scenario has this name')}")
    named = [scenario for name, scenario in catalogue.SCENARIOS.items() if not arguments.only or name in arguments.only]
    if arguments.no_rust:
        left_out |= {scenario.name: WITH_RUST for scenario in named if scenario.server}
    return [scenario for scenario in named if scenario.name not in left_out], left_out


def measure(arguments: argparse.Namespace) -> int:
    selected, left_out = select(arguments)
    rust = None if arguments.no_rust else Rust(arguments.checkout)
    rounds = QUICK_ROUNDS if arguments.quick else arguments.rounds
    run = Run(rust, rounds, arguments.seed, arguments.check)
    result = {
        "format": results.FORMAT, "python": platform.python_version(),
        "versions": {name: version(name) for name in LIBRARIES}, "began": int(time.time()),
        "machine": {"cpu": cpu_name(), "cpus": CPUS, "system": platform.system(), "release": platform.release()},
        "start_method": executors.START_METHOD, "rounds": rounds, "seed": arguments.seed,
        "left_out": left_out, "failed": {}, "scenarios": {},
    }
    try:
        for number, scenario in enumerate(selected, 1):
            print(f"{number} of {len(selected)}: {scenario.name}", file=sys.stderr, flush=True)
            try:
                result["scenarios"][scenario.name] = run.measure(scenario)
            except Failed as failure:
                # What is wrong with one scenario is not wrong with the next.
                print(f"error: {failure}", file=sys.stderr)
                result["failed"][scenario.name] = str(failure)
            if not arguments.check:
                results.save(arguments.output, result)
    finally:
        if rust:
            rust.close()
    if arguments.check:
        print(f"{len(selected) - len(result['failed'])} of {len(selected)} scenarios: all answers are right")
    else:
        print(results.table(result))
    return EXIT_FAILED if result["failed"] else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds of each scenario [default: 7]")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROUNDS} rounds")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="only these scenarios")
    parser.add_argument("--output", type=Path, default=ROOT / "target" / "parbench" / "python.json", metavar="FILE",
                        help="saved after each scenario [default: target/parbench/python.json]")
    parser.add_argument("--no-rust", action="store_true", help="Python alone, without what needs the Rust programs' servers")
    parser.add_argument("--checkout", type=Path, default=ROOT, metavar="FOLDER",
                        help="the checkout whose Rust bench programs are measured [default: this one]")
    parser.add_argument("--seed", type=int, default=1, help="of the orders")
    parser.add_argument("--check", action="store_true", help="compares the answers of tiny tasks on all executors; no times")
    parser.add_argument("--table", type=Path, metavar="FILE", help="the table of a file; measures nothing")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: at least one is needed")
    return arguments


def end(*_: object) -> None:
    """What was started is ended on the way out, once, however many signals there are."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> int:
    arguments = parse()
    for number in SIGNALS:
        signal.signal(number, end)
    try:
        if arguments.table:
            print(results.table(results.read(arguments.table)))
            return 0
        return measure(arguments)
    except KeyboardInterrupt:
        print("interrupted; the scenarios that were finished have been saved", file=sys.stderr)
        return EXIT_INTERRUPTED
    except (Failed, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_UNUSABLE


if __name__ == "__main__":
    sys.exit(main())
