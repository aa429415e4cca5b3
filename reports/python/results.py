"""The file of a run, and the table of it. Knows nothing of how it was measured."""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

FORMAT = "parbench.python/1"


def summary(rounds: dict[str, list[float]]) -> dict:
    """The rounds of each variant, to the tenth of a microsecond or four digits, and their median."""
    def short(seconds: float) -> float:
        return float(f"{seconds:.4g}")

    return {name: {"rounds_s": list(map(short, times)), "median_s": short(statistics.median(times))}
            for name, times in rounds.items()}


def save(path: Path, result: dict) -> None:
    """Writes a file beside it and renames that: nobody reads half a file, and an interruption leaves the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(lines(result), encoding="utf-8")
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def lines(result: dict) -> str:
    """JSON with a line for each variant, so that two runs can be compared line by line."""
    def lay_out(value: object, depth: int) -> str:
        # A variant's own values are on its line.
        if not isinstance(value, dict) or "rounds_s" in value or not value:
            return json.dumps(value, ensure_ascii=False)
        indent = "\n" + " " * depth
        fields = (f"{indent} {json.dumps(name)}: {lay_out(field, depth + 1)}" for name, field in value.items())
        return "{" + ",".join(fields) + indent + "}"

    return lay_out(result, 0) + "\n"


def read(path: Path) -> dict:
    result = json.loads(path.read_text(encoding="utf-8"))
    if result.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    return result


def ratio(measured: dict, of: tuple[str, str], to: tuple[str, str]) -> str:
    """The median of the ratios of two variants, each within a round, so that a drift affects both sides."""
    first, second = (measured.get(side, {}).get(name, {}).get("rounds_s") for side, name in (of, to))
    if not first or not second:
        return "-"
    value = statistics.median(a / b for a, b in zip(first, second))
    digits = ".0f" if value >= 100 else ".3g" if value >= 10 else ".2f" if value >= 0.1 else ".2g"
    return f"{value:{digits}}x"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, factor in (("s", 1), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def table(result: dict) -> str:
    """Speed-ups over serial for both, and how many times as fast Rust is without any, as Markdown."""
    lines = [
        "| scenario | Python, serial | threads/2 | processes/2 | dask/2 | Rust, serial | threads/2 | processes/2 |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, measured in result["scenarios"].items():
        # Where there are as many tasks as workers, the serial one that does two.
        serial = "serial/2" if measured["weak"] else "serial/1"
        python, rust = ("variants", serial), ("rust", serial)
        speed_ups = [ratio(measured, python, ("variants", f"{kind}/2")) for kind in ("threads", "processes", "dask")]
        beside = [ratio(measured, rust, ("rust", f"{kind}/2")) for kind in ("threads", "processes")]
        time = duration(measured["variants"].get(serial, {}).get("median_s"))
        lines.append("| " + " | ".join([f"`{name}`", time, *speed_ups, ratio(measured, python, rust), *beside]) + " |")
    return "\n".join(lines)
