"""Measures the articles' tasks in Python, in turns with the Rust bench programs, and writes what `cargo parbench report --python` reads.

    python reports/python/measure.py                       # ten minutes on two CPUs
    python reports/python/measure.py --quick --only cpu_loop
    python reports/python/measure.py --table FILE          # the table of a file; measures nothing
    python reports/python/measure.py --check               # each task once, on all executors; measures nothing
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Before numpy is imported: workers share the CPUs, so a kernel gets one thread, as in the Rust programs.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ[variable] = "1"

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "fixtures" / "python"), str(Path(__file__).resolve().parent)]

try:
    import compute
    import data
    import other
    from executors import CPUS, Dask, Pool, Serial, versions
except ImportError as error:
    print(f"error: {error.name or error} is missing: pip install -r reports/python/requirements.txt", file=sys.stderr)
    raise SystemExit(2) from None

FORMAT = "parbench.python/1"
SCENARIOS = [*compute.SCENARIOS, *data.SCENARIOS, *other.SCENARIOS]
# Longer than any batch, and any start of a program.
TIMEOUT = 300


def variants(scenario) -> list:
    """The executors of a scenario, none of which has been started."""
    counts = scenario.workers
    serial = [Serial(scenario, tasks) for tasks in (counts if scenario.weak else (1,))]
    pools = [Pool(scenario, kind, count) for kind in ("threads", "processes") for count in counts]
    return serial + pools + ([] if scenario.cold else [Dask(scenario, max(2, min(counts)))])


def same(one, other_one) -> bool:
    """Whether two lists of answers are, as far as the shorter goes; of arrays, too."""
    return all(bool((a == b).all()) if hasattr(a, "all") else a == b for a, b in zip(one, other_one))


def check(scenario, inputs: list, answers: list, expected: list | None) -> None:
    """Raises an error if answers are wrong, or others than the serial ones."""
    assert len(answers) == len(inputs), f"{len(answers)} answers of {len(inputs)} tasks"
    if scenario.check:
        scenario.check(inputs, answers)
    elif expected is not None:
        assert same(expected, answers), "the answers differ from the serial ones"


class Rust:
    """The bench programs, which measure the same scenario in the same turns, and serve the pages."""

    def __init__(self) -> None:
        self.programs: dict[str, str] = {}
        self.server = None
        command = ["cargo", "bench", "--no-run", "--message-format=json", "--manifest-path", str(ROOT / "Cargo.toml")]
        built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        for line in built.stdout.splitlines():
            message = json.loads(line)
            if message.get("executable") and "bench" in message.get("target", {}).get("kind", []):
                self.add(message["executable"])

    def add(self, program: str) -> None:
        listed = subprocess.run([program, "parbench", "list"], capture_output=True, text=True, timeout=TIMEOUT)
        for line in listed.stdout.splitlines()[1:]:
            self.programs[json.loads(line)["name"]] = program

    def pages(self) -> str:
        """The URL of a server of pages, which ends with this program."""
        if self.server is None:
            command = [self.programs["url_download"], "parbench", "fixture", "http"]
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            self.address = self.server.stdout.readline().strip()
        return f"http://{self.address}"

    def measure(self, scenario) -> dict[str, float]:
        """Seconds of a batch of each variant, in one round."""
        counts = ",".join(map(str, sorted({1, 2, *scenario.workers})))
        command = [self.programs[scenario.name], "parbench", "rounds", scenario.name, "--rounds", "1",
                   "--launches", "1", "--executors", "serial,threads,processes", "--workers", counts]
        measured = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)
        times: dict[str, list[float]] = {}
        for record in map(json.loads, measured.stdout.splitlines()):
            if record.get("wall_ns") and record.get("batches"):
                workers = record["tasks"] if scenario.weak else record["shape"]
                key = f"{record['executor']}/{workers}"
                times.setdefault(key, []).append(record["wall_ns"] / record["batches"] / 1e9)
        return {key: statistics.median(values) for key, values in times.items()}

    def close(self) -> None:
        if self.server is not None:
            self.server.terminate()
            self.server.wait(timeout=30)


def measure(scenario, rounds: int, rust: Rust | None, draw: random.Random) -> dict:
    """All variants of a scenario, in rounds of a random order."""
    with tempfile.TemporaryDirectory() as folder:
        server = rust.pages() if scenario.pages else ""
        inputs = scenario.inputs(folder, server)
        executors = variants(scenario)
        python: dict[str, list[float]] = {executor.name: [] for executor in executors}
        beside: dict[str, list[float]] = {}
        expected = None
        try:
            for executor in executors:
                # Warm, as the Rust executors are: the pool has its workers, and each of them its imports.
                own = executor.inputs(inputs)
                answers = executor.run(own)[1]
                check(scenario, own, answers, expected)
                if expected is None or len(answers) > len(expected):
                    expected = answers
            for _ in range(rounds):
                for executor in draw.sample(executors, len(executors)):
                    own = executor.inputs(inputs)
                    seconds, answers = executor.run(own)
                    python[executor.name].append(seconds)
                    check(scenario, own, answers, expected)
                for name, seconds in (rust.measure(scenario) if rust else {}).items():
                    beside.setdefault(name, []).append(seconds)
        finally:
            for executor in executors:
                executor.close()

    def summed(times: dict[str, list[float]]) -> dict:
        return {name: {"rounds_s": values, "median_s": statistics.median(values)}
                for name, values in times.items() if values}

    return {"tasks": len(inputs), "weak": scenario.weak, "differs": scenario.differs,
            "variants": summed(python), "rust": summed(beside)}


def save(path: Path, result: dict) -> None:
    """Beside it and then renamed: no reader sees half a file."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(result, separators=(",", ":")))
    beside.replace(path)


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def table(result: dict) -> str:
    """Speed-ups over serial, and how much faster Rust's serial program is, as Markdown."""
    lines = ["| scenario | Python serial | threads | processes | dask | Rust serial | threads | processes | Rust over Python, serial |",
             "|---|--:|--:|--:|--:|--:|--:|--:|--:|"]

    def seconds(value: float) -> str:
        for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
            if value * factor >= 1:
                return f"{value * factor:.3g} {unit}"
        return f"{value * 1e9:.3g} ns"

    for name, measured in result["scenarios"].items():
        def speed_ups(side: dict) -> list[str]:
            tasks = 2 if measured["weak"] else 1
            serial = side.get(f"serial/{tasks}", {}).get("median_s")
            times = [side.get(f"{kind}/2", {}).get("median_s") for kind in ("threads", "processes", "dask")]
            return [seconds(serial) if serial else "-",
                    *(f"{serial / time:.2g}x" if serial and time else "-" for time in times)]

        python, rust = speed_ups(measured["variants"]), speed_ups(measured.get("rust", {}))
        key = "serial/2" if measured["weak"] else "serial/1"
        both = [side.get(key, {}).get("median_s") for side in (measured["variants"], measured.get("rust", {}))]
        faster = f"{both[0] / both[1]:.2g}x" if all(both) else "-"
        lines.append("| " + " | ".join([f"`{name}`", *python, *rust[:3], faster]) + " |")
    return "\n".join(lines)


def run(arguments: argparse.Namespace) -> int:
    selected = [scenario for scenario in SCENARIOS if not arguments.only or scenario.name in arguments.only]
    unknown = set(arguments.only) - {scenario.name for scenario in SCENARIOS}
    if unknown:
        reasons = [f"{name} ({other.LEFT_OUT.get(name, 'there is none')})" for name in sorted(unknown)]
        print(f"error: no Python form of {', '.join(reasons)}", file=sys.stderr)
        return 2
    rust = None if arguments.no_rust else Rust()
    try:
        if rust is None:
            selected = [scenario for scenario in selected if not scenario.pages]
        result = {"format": FORMAT, "python": platform.python_version(), "versions": versions(),
                  "began": int(time.time()), "machine": {"cpu": cpu_name(), "cpus": CPUS},
                  "left_out": other.LEFT_OUT, "scenarios": {}}
        draw = random.Random(arguments.seed)
        for number, scenario in enumerate(selected):
            print(f"{number + 1} of {len(selected)}: {scenario.name}", file=sys.stderr, flush=True)
            rounds = 1 if arguments.check else 3 if arguments.quick else arguments.rounds
            result["scenarios"][scenario.name] = measure(
                scenario, rounds, None if arguments.check and not scenario.pages else rust, draw)
            if not arguments.check:
                save(arguments.output, result)
    finally:
        if rust is not None:
            rust.close()
    print("all answers are right" if arguments.check else table(result))
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="three rounds")
    parser.add_argument("--only", nargs="+", default=[], metavar="SCENARIO")
    parser.add_argument("--output", type=Path, default=ROOT / "target" / "parbench" / "python.json")
    parser.add_argument("--no-rust", action="store_true", help="Python alone, without what needs the server of pages")
    parser.add_argument("--seed", type=int, default=1, help="of the orders")
    parser.add_argument("--check", action="store_true", help="only whether all executors give the right answers")
    parser.add_argument("--table", type=Path, metavar="FILE", help="the table of a file")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error(f"--rounds {arguments.rounds}: at least one")
    if arguments.table:
        try:
            result = json.loads(arguments.table.read_text())
        except (OSError, ValueError) as error:
            print(f"error: cannot read {arguments.table}: {error}", file=sys.stderr)
            return 2
        print(table(result))
        return 0
    try:
        return run(arguments)
    except KeyboardInterrupt:
        print(f"interrupted; what was measured is in {arguments.output}", file=sys.stderr)
        return 130
    except (OSError, subprocess.SubprocessError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
