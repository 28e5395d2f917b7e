"""Near and far pictures in the summary: rows, and a table in which each figure stands between its bounds."""

from __future__ import annotations

from typing import Any

from neuroenc.evaluation.near_and_far import ADDED
from neuroenc.figures.pictures import CONDITIONS
from neuroenc.records import row

Row = dict[str, Any]
PARTS = {"near": "near", "far": "far", "gap": "near less far"}
WHERE = ("condition", "network", "judge", "layer", "gave_the_embedding", "encoder")


def apart_rows(found: list[Row], made: Row) -> list[Row]:
    """Give near, far and their gap of each score in each condition.

    Parameters
    ----------
    found : list of dict
        Rows of `evaluation.near_and_far`.
    made : dict
        Labels of the rows: subject, command, seed, and for retrieval by.
    """
    rows = []
    for r in found:
        for part, name in PARTS.items():
            about = {k: r[k] for k in WHERE if k in r}
            if part != "gap":
                about["distance"] = r[f"{part}_distance"]
            rows.append(row(f"{name}, {r['metric']}", r[part], unit=r["metric"],
                            n=r["n_near"] + r["n_far"] if part == "gap" else r[f"n_{part}"],
                            interval=(r[f"{part}_low"], r[f"{part}_high"]),
                            null=0.0 if part == "gap" else None, **about, **made))  # fmt: skip
    return rows


def is_apart(r: Row) -> bool:
    """Say whether a row of a summary is of near or far pictures."""
    return str(r["name"]).startswith(tuple(f"{name}, " for name in PARTS.values())) and "condition" in r


def apart_table(rows: list[Row]) -> list[str]:
    """List near and far scores: a line a measure, near/far in each condition, the gap above a shuffled brain.

    Parameters
    ----------
    rows : list of dict
        Of a summary.

    Returns
    -------
    list of str
        None where nothing is near or far.
    """
    mine = [r for r in rows if is_apart(r) and not r["name"].endswith("two_way_reconstructions")]
    if not mine:
        return []
    names = [c for c in ("chance", *CONDITIONS) if any(r["condition"] == c for r in mine)]
    table: dict[tuple[str, str], dict[tuple[str, str], Row]] = {}
    for r in mine:
        part, _, metric = r["name"].partition(", ")
        by = r.get("network") or r.get("by") or ""
        by += f" {str(r['layer']).rpartition('.')[2]}" if r.get("layer") else ""
        table.setdefault((r["subject"], f"{metric} {by}".strip()), {})[part, r["condition"]] = r
    distance = {
        p: next(r["distance"] for r in mine if r["name"].startswith(f"{p}, ")) for p in ("near", "far")
    }
    n = {p: next(r["n"] for r in mine if r["name"].startswith(f"{p}, ")) for p in ("near", "far")}
    wide = max(28, *(len(what) for _, what in table))
    lines = ["", f"near/far: {n['near']} and {n['far']} pictures of the first subject, at a mean distance of "
             f"{distance['near']:.3f} and {distance['far']:.3f} to the nearest training picture"]  # fmt: skip
    head = " ".join(f"{c:>11}" for c in names)
    lines.append(f"{'subject':>8} {'near/far':<{wide}} {head} {'brain - shuffled, gap':>24}")
    for (subject, what), found in table.items():
        cells = []
        for c in names:
            pair = [found.get((p, c)) for p in ("near", "far")]
            cells.append("/".join(_number(r["value"]) for r in pair if r) or "–")
        gap = found.get((PARTS["gap"], ADDED))
        told = _gap(gap) if gap else "–"
        lines.append(f"{subject:>8} {what:<{wide}} " + " ".join(f"{c:>11}" for c in cells) + f" {told:>24}")
    return lines


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _gap(r: Row) -> str:
    low, high = r["interval"] or (None, None)
    limits = "" if low is None else f" [{low:+.3f}, {high:+.3f}]"
    return "–" if r["value"] is None else f"{r['value']:+.3f}{limits}"
