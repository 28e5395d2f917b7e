"""Figures a machine can read: one row each, with all that is needed to judge it."""

from __future__ import annotations

import os
import platform
from typing import Any

from neuroenc import __version__


def machine() -> str:
    """Describe the machine in words."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {gigabytes:.0f} GiB"


def row(
    name: str,
    value: float | None,
    *,
    unit: str,
    n: int,
    command: str,
    seed: int | None,
    interval: tuple[float | None, float | None] | None = None,
    null: float | None = None,
    ceiling: float | None = None,
    **labels: Any,
) -> dict[str, Any]:
    """Build one row.

    Parameters
    ----------
    name, value, unit : str, float or None, str
        None and NaN: not known.
    n : int
        How many things the value is over.
    command : str
        The command that makes it again.
    seed : int or None
    interval : (low, high), optional
        95 %; None and NaN: not known.
    null, ceiling : float, optional
        What chance and what a perfect model would get.
    **labels
        Subject, model, region, …
    """
    numbers = {"value": value, "null": null, "ceiling": ceiling}
    clean = {k: None if v is None or v != v else round(float(v), 6) for k, v in numbers.items()}
    ends = [v for v in interval or () if v is not None and v == v]
    limits = [round(v, 6) for v in ends] if len(ends) == 2 else None
    return {
        "name": name, "value": clean["value"], "unit": unit, "n": n, "interval": limits,
        "null": clean["null"], "ceiling": clean["ceiling"], **labels, "command": command,
        "seed": seed, "machine": machine(), "version": __version__,
    }  # fmt: skip
