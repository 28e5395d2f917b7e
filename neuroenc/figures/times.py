"""Where the time of a run went, by stage: read from its logs."""

from __future__ import annotations

import json
import re
from pathlib import Path

from neuroenc.files import existing

TOOK = re.compile(r"took ([\d.]+) s of processor time, ([\d.]+) s of it")


def stage_times(folder: Path) -> str:
    """Sum the seconds of the jobs of each stage, and the processor time outside the mathematics.

    Parameters
    ----------
    folder : path
        The logs of a run, with Snakemake's benchmark files in `benchmarks`.
    """
    stages: dict[str, list[tuple[float, float, float]]] = {}
    benchmarks = existing(folder / "benchmarks")
    for path in sorted(benchmarks.rglob("*.jsonl")):
        place = path.relative_to(benchmarks)
        seconds = json.loads(path.read_text().splitlines()[-1])["s"]
        stages.setdefault(place.with_suffix("").parts[0], []).append(
            (seconds, *_used(folder / place.with_suffix(".log")))
        )
    lines = [f"{'stage':<25} {'jobs':>4} {'seconds':>8} {'processor':>9} {'loading':>8}"]
    processor, outside = _used(folder / "snakemake.log")
    for stage, jobs in stages.items():
        seconds, used, loading = map(sum, zip(*jobs, strict=True))
        lines.append(f"{stage:<25} {len(jobs):>4} {seconds:8.1f} {used:9.1f} {loading:8.1f}")
        processor, outside = processor + used, outside + loading
    if processor:
        lines.append(
            f"{processor:.0f} s of processor time, {100 * outside / processor:.0f} % of it outside the "
            "mathematics: loading libraries, Snakemake itself"
        )
    return "\n".join(lines)


def _used(log: Path) -> tuple[float, float]:
    """Read the processor seconds of a job, and those outside the mathematics; of the last run."""
    found = TOOK.findall(log.read_text()) if log.exists() else []
    return (float(found[-1][0]), float(found[-1][1])) if found else (0.0, 0.0)
