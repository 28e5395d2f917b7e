"""Forecasts of the memory of a stage, from what lies in its inputs: for jobs on a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def megabytes(stage: str, inputs: Sequence[str | Path], options: Mapping[str, Any]) -> float:  # noqa: ARG001
    """Forecast the memory a stage takes at its peak, MB."""
    return 1000 + 10 * sum(Path(p).stat().st_size for p in inputs) / 1e6
