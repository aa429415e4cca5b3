"""The Rust bench programs: they measure the same scenario in the same turns, and serve the pages and e-mails."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from cells import END_S, TIMEOUT_S, Failed, Lines, end_group


class Fixture:
    """A server of a bench program, which ends when it is told to, and with this program."""

    def __init__(self, program: str, name: str) -> None:
        # Its own session: at Ctrl-C it ends after its clients.
        self.process = subprocess.Popen([program, "parbench", "fixture", name], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, start_new_session=True)
        self.lines = Lines(self.process.stdout)
        try:
            self.notice = self.lines.next(END_S) or ""
            if not self.notice:
                raise Failed(f"the fixture `{name}` did not start")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self.process.terminate()
        end_group(self.process, END_S)
        self.lines.close()


class Rust:
    def __init__(self, checkout: Path) -> None:
        self.programs: dict[str, str] = {}
        self.fixtures: dict[str, Fixture] = {}
        command = ["cargo", "bench", "--no-run", "--message-format=json", "--manifest-path", str(checkout / "Cargo.toml")]
        try:
            built = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        except FileNotFoundError:
            raise Failed("there is no cargo; --no-rust measures Python alone") from None
        if built.returncode:
            raise Failed(f"cannot build the bench programs of {checkout}; --no-rust measures Python alone")
        for message in map(json.loads, built.stdout.splitlines()):
            if message.get("executable") and "bench" in message.get("target", {}).get("kind", []):
                self.add(message["executable"])

    def add(self, program: str) -> None:
        """Its scenarios; a program with another main has none."""
        listed = subprocess.run([program, "parbench", "list"], capture_output=True, text=True, timeout=TIMEOUT_S)
        for line in listed.stdout.splitlines()[1:] if listed.returncode == 0 else []:
            self.programs.setdefault(json.loads(line)["name"], program)

    def fixture(self, name: str) -> str:
        """What a client has to know of a server, which is started if it is not there yet."""
        if name not in self.fixtures:
            self.fixtures[name] = Fixture(self.programs["url_download"], name)
        return self.fixtures[name].notice

    def measure(self, name: str, counts: list[int], number: int, weak: bool) -> dict[str, float]:
        """Seconds of a batch of each variant, in one round of freshly started cells."""
        if name not in self.programs:
            raise Failed(f"no bench program has the scenario `{name}`; --no-rust measures Python alone")
        command = [self.programs[name], "parbench", "rounds", name, "--rounds", "1", "--launches", "1", "--passes", "1",
                   "--judged", "none", "--size", "default", "--executors", "serial,threads,processes",
                   "--workers", ",".join(map(str, counts)), "--seed", str(number + 1)]
        try:
            measured = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failed(f"{name}: the Rust program took more than {TIMEOUT_S} s") from None
        records = [record for record in map(json.loads, measured.stdout.splitlines()) if "executor" in record]
        if measured.returncode or not records or any(record.get("error") for record in records):
            raise Failed(f"{name}: the Rust program failed: {measured.stderr.strip()[-500:]}")
        times = {}
        for record in records:
            # Serial is named after its tasks where there are as many as workers.
            workers = record["tasks"] if weak else record["shape"]
            times[f"{record['executor']}/{workers}"] = record["wall_ns"] / record["batches"] / 1e9
        return times

    def close(self) -> None:
        for fixture in self.fixtures.values():
            fixture.close()
