"""Time and size of the simulated NSD at its default size: part of `make bench`."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from neuroenc.config import Simulation
from neuroenc.files import write_json
from neuroenc.records import row
from neuroenc.simulation.simulate import simulate


def main() -> None:
    options = Simulation()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        simulate(Path(folder) / "tree", options)
        taken = time.perf_counter() - start
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()) / 1e6
    made = {"command": "python benchmarks/simulation.py", "seed": options.seed}
    rows = [
        row("simulated NSD, default size", taken, unit="s", n=1, **made),
        row("simulated NSD, default size", size, unit="MB", n=1, **made),
    ]
    write_json({"label": "simulation", "rows": rows}, "benchmarks/results/simulation.json")
    for r in rows:
        print(f"{r['name']:40s} {r['value']:.1f} {r['unit']}")


if __name__ == "__main__":
    main()
