"""Figure of representational similarity: layers by regions, and the best layer against the ceiling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from neuroenc.figures import style
from neuroenc.ranking import best


def draw_similarity(found: dict[str, Any], path: str | Path) -> None:
    """Draw a map of layers by regions, and for each region the best layer of each model with its interval.

    Parameters
    ----------
    found : dict
        As `evaluation.similarity.similarity` gives it.
    path : path
    """
    rows = found["rows"]
    places = list(dict.fromkeys(r["region"] for r in rows))
    layers = list(dict.fromkeys((r["model"], r["layer"]) for r in rows))
    table = {(r["model"], r["layer"], r["region"]): r for r in rows}
    values = np.array([[_number(table[(*k, p)]["value"]) for p in places] for k in layers])
    single = {m: sum(model == m for model, _ in layers) == 1 for m, _ in layers}
    width, height = 2.6 + 0.62 * len(places), max(2.6, 1.3 + 0.27 * len(layers))
    fig, (left, right) = style.figure(1, 2, figsize=(2 * width, height))
    highest = float(np.nanmax(np.abs(values))) if np.isfinite(values).any() else 1.0
    negative = bool((values < 0).any())
    how: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -highest} if negative else {"cmap": style.MAP, "vmin": 0}
    image = left.imshow(values, aspect="auto", interpolation="nearest", vmax=highest, **how)
    some = np.flatnonzero(np.isfinite(values).any(0))
    left.plot(some, best(values)[some], "k." if negative else "w.", ms=6)
    left.set_yticks(range(len(layers)), [m if single[m] else f"{m} · {layer}" for m, layer in layers])
    left.set_xticks(range(len(places)), places, rotation=45, ha="right")
    left.set_xlabel(f"region ({'black' if negative else 'white'}: best layer)")
    fig.colorbar(image, ax=left, label=found["measure"])
    _draw_best(right, found, places, layers, table, values)
    subjects = found["subjects"]
    who = f"subject {subjects[0]}" if len(subjects) == 1 else f"{len(subjects)} subjects"
    fig.suptitle(
        f"{who}, {found['n_stimuli']} stimuli, {found['distance']} distance, {found['measure']}", fontsize=9
    )
    style.save(fig, path)


def _draw_best(
    ax: Any, found: dict[str, Any], places: list[str], layers: list[tuple[str, str]], table: Any, values: Any
) -> None:
    names = list(dict.fromkeys(m for m, _ in layers))
    first = {p: next(r for r in found["rows"] if r["region"] == p) for p in places}
    for x, place in enumerate(places):
        low, high = (_number(first[place][k]) for k in ("ceiling_low", "ceiling_high"))
        label = "noise ceiling" if x == 0 else None
        if np.isfinite([low, high]).all():
            ax.fill_between([x - 0.43, x + 0.43], low, high, color="#DDDDDD", lw=0, zorder=0, label=label)
        elif np.isfinite(low):
            ax.plot([x - 0.43, x + 0.43], [low, low], color="#999999", lw=2, zorder=0, label=label)
    offsets = np.linspace(-0.32, 0.32, len(names)) if len(names) > 1 else [0.0]
    for n, (name, offset) in enumerate(zip(names, offsets, strict=True)):
        mine = np.array([k for k, (m, _) in enumerate(layers) if m == name])
        top = mine[best(values[mine])]
        rows = [table[(*layers[k], p)] for k, p in zip(top, places, strict=True)]
        value, least, most = (np.array([_number(r[k]) for r in rows]) for k in ("value", "low", "high"))
        ax.errorbar(np.arange(len(places)) + offset, value, np.maximum([value - least, most - value], 0),
                    fmt="os^Dv"[n // 8 % 5], ms=4, lw=1.2,
                    color=style.COLOURS[n % 8], label=name)  # fmt: skip
    ax.axhline(0, color="black", lw=0.6, ls=":")
    ax.set_xticks(range(len(places)), places, rotation=45, ha="right")
    ax.set_ylabel(f"best layer ({found['measure']})")
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
