"""One look for all figures: colours that colour-blind readers can tell apart (Okabe & Ito 2008)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroenc.errors import InputError
from neuroenc.files import atomic

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#000000")
MAP = "cividis"
NEUTRAL = "#DDDDDD"


def figure(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    """Make a figure and its axes, without a display unless somebody (a notebook) has chosen one."""
    import matplotlib as mpl

    if "MPLBACKEND" not in os.environ and "matplotlib.pyplot" not in sys.modules:
        mpl.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams.update({
        "axes.spines.top": False, "axes.spines.right": False, "font.size": 9,
        "text.parse_math": False,  # names of regions are text, whatever they hold
        "figure.constrained_layout.use": True, "savefig.dpi": 130, "figure.facecolor": "white",
    })  # fmt: skip
    fig, axes = plt.subplots(*args, **kwargs)
    return fig, axes


def highest(rows: list[dict[str, Any]]) -> tuple[str, str]:
    """Return whom a figure is of, 'all' or else the one subject, and how that is said."""
    subject = "all" if any(r["subject"] == "all" for r in rows) else str(rows[0]["subject"])
    return subject, "over subjects" if subject == "all" else f"subject {subject}"


def save(fig: Figure, path: str | Path) -> None:
    """Write a figure whole or not at all, and close it."""
    import matplotlib.pyplot as plt

    form, known = Path(path).suffix[1:], fig.canvas.get_supported_filetypes()
    if form and form.lower() not in known:
        raise InputError(f"Cannot draw {path}: {form!r} is no format of figures. Use .png, .svg or .pdf.")
    with atomic(path) as partial:
        fig.savefig(partial, format=form)
    plt.close(fig)


def mappable(cmap: Any, low: float, high: float) -> Any:
    """Return what a bar of colours needs."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(low, high), cmap)
