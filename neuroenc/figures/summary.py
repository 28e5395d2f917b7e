"""All scores of a run as rows of JSON and as a tidy table."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from neuroenc.arrays import regions
from neuroenc.documents import read_json
from neuroenc.evaluation.effects import ALL, comparison_rows
from neuroenc.evaluation.subjects import over_subjects
from neuroenc.figures.near_and_far import apart_rows, apart_table, is_apart
from neuroenc.figures.parcels import groups, parcel_table
from neuroenc.figures.pictures import picture_table
from neuroenc.files import atomic, write_json
from neuroenc.records import row

Row = dict[str, Any]
KEYS = ("name", "value", "unit", "n", "interval", "null", "ceiling", "command", "seed", "machine")
# of the worst to be expected, of what was decoded, and of the best to be had
WHERE = ("condition", "network", "judge", "layer", "gave_the_embedding", "encoder", "region")
BOUNDS = ("shuffled", "mean", "sample", "low_level", "retrieved", "plain", "prior", "brain", "true", "seen")


def summarise(
    scores: dict[tuple[str, str], xr.Dataset],
    *,
    label: str,
    command: str,
    seed: int,
    out: Path,
    table: Path,
    page: Path,
    grade: Path | None = None,
    retrieval: dict[tuple[str, str], dict[str, Any]] | None = None,
    classification: dict[tuple[str, str], dict[str, Any]] | None = None,
    reconstruction: dict[str, list[dict[str, Any]]] | None = None,
    parcels: Path | None = None,
    comparisons: dict[tuple[str, str], xr.Dataset] | None = None,
    drawn_from: str | None = None,
    near_and_far: dict[str, list[dict[str, Any]]] | None = None,
) -> None:
    """Write summary.json, the tidy table and a page.

    Parameters
    ----------
    scores : dict
        (subject, model) to Scores.
    label, command : str
        Name of the run; what makes it again.
    seed : int
    out : Path
        JSON: a row per figure.
    table : Path
        Parquet: a row per neuroid, model and metric.
    page : Path
        HTML: the rows as a table.
    grade : Path, optional
        Rows to add.
    retrieval : dict, optional
        (subject, what retrieved) to scores as `decode evaluate` writes them.
    classification : dict, optional
        (subject, classifier) to scores as `decode classify` writes them.
    reconstruction : dict, optional
        Subject to rows of `evaluate pictures` and `evaluate captions`.
    parcels : Path, optional
        CSV: a row per parcel, model and subject.
    comparisons : dict, optional
        (subject, label) to what `evaluation.compare` gives.
    drawn_from : str, optional
        What of `retrieval` the pictures were drawn from.
    near_and_far : dict, optional
        Subject to near and far scores of its pictures and captions.
    """
    rows: list[Row] = []
    for (subject, model), s in scores.items():
        rows += scored(s, {"subject": subject, "model": model, "command": command, "seed": seed})
    for (subject, by), found in (retrieval or {}).items():
        made = {"subject": subject, "by": by, "command": command, "seed": found["seed"]}
        rows += retrieved(found, made | ({"drawn": True} if by == drawn_from else {}))
        rows += apart_rows(found.get("near_and_far", {}).get("rows", []), made)
    for (subject, by), found in (classification or {}).items():
        rows += classified(found, {"subject": subject, "by": by, "command": command, "seed": found["seed"]})
    drawn = dict(reconstruction or {})
    if len(drawn) > 1:
        drawn["all"] = over_subjects(drawn, seed=seed)
    for subject, judged in drawn.items():
        rows += reconstructed(judged, {"subject": subject, "command": command, "seed": seed})
    for subject, parted in (near_and_far or {}).items():
        rows += apart_rows(parted, {"subject": subject, "command": command, "seed": seed})
    by_name: dict[str, dict[str, xr.Dataset]] = {}
    for (subject, name), comparison in (comparisons or {}).items():
        by_name.setdefault(name, {})[subject] = comparison
    for name, of_subjects in by_name.items():
        rows += compared(comparison_rows(of_subjects, name), {"command": command, "seed": seed})
    if grade is not None:
        rows += read_json(grade, "graded", "rows")["rows"]
    write_json({"label": label, "rows": rows}, out)
    with atomic(page) as partial:
        partial.write_text(_page(label, rows), encoding="utf-8")
    if parcels is not None:
        by_parcel = pd.concat([parcel_table(s, subject, model) for (subject, model), s in scores.items()])
        with atomic(parcels) as partial:
            by_parcel.to_csv(partial, index=False)
    tidy = pd.concat([_tidy(s, subject, model) for (subject, model), s in scores.items()])
    with atomic(table) as partial:
        tidy.to_parquet(partial, index=False)


def scored(s: xr.Dataset, made: Row) -> list[Row]:
    """Give the scores of an encoder: each region, the share that is significant, identification.

    Parameters
    ----------
    s : Dataset
        Scores.
    made : dict
        Labels of the rows: subject, model, command, seed.
    """
    rows = _regions(s, made)
    if "region_time_r" in s:
        rows += _peaks(s, made)
    if "pattern_score" in s:
        rows += _patterns(s, made)
    if "brainscore" in s:
        rows += _brainscores(s, made)
    normalised = s["score"].sel(metric="normalised_r").values
    kept = normalised[np.isfinite(normalised)]
    if len(kept):
        rows.append(row("median normalised r", float(np.median(kept)), unit="r / ceiling", n=len(kept),
                        null=0.0, ceiling=1.0, below_threshold=int(s.attrs["n_below_threshold"]),
                        **made))  # fmt: skip
    known = np.isfinite(s["q"].values)
    significant = s["q"].values[known] < s.attrs["fdr_level"]
    share = float(significant.mean()) if len(significant) else None
    rows.append(row("significant after FDR", share, unit="share",
                    n=int(known.sum()), null=0.0, without_score=int(s.attrs["n_without_score"]),
                    **made))  # fmt: skip
    for k, chance in (("top1", "brain_to_image_chance"), ("top5", "brain_to_image_top5_chance")):
        rows.append(row(f"brain_to_image_{k}", s.attrs[f"brain_to_image_{k}"], unit="share",
                        n=int(s.attrs["n_test_stimuli"]), null=s.attrs[chance], ceiling=1.0,
                        method="correlation of patterns", **made))  # fmt: skip
    return rows


def _regions(s: xr.Dataset, made: Row) -> list[Row]:
    """Give the mean r of each region, and of parcels where they are few, between chance and its ceiling."""
    r = s["score"].sel(metric="pearson_r").values
    fold_r = s["fold_score"].sel(metric="pearson_r").values
    ceiling = np.sqrt(np.clip(s["ceiling"].values, 0, None))
    rows = []
    for name, (inside, (mean, low, high)) in groups(s).items():
        limit = ceiling[inside][np.isfinite(ceiling[inside])]
        rows.append(row(
            "mean test r", mean, unit="Pearson r", n=int(np.isfinite(r[inside]).sum()),
            interval=(low, high), null=0.0, ceiling=limit.mean() if len(limit) else None,
            region=name, per_fold=_means(fold_r[:, inside].reshape(len(fold_r), -1)), **made,
        ))  # fmt: skip
    return rows


def _patterns(s: xr.Dataset, made: Row) -> list[Row]:
    """Give 2V2 and the mean correlation of patterns of each region."""
    units = {"two_versus_two": "share of pairs", "picture_r": "Pearson r over neuroids"}
    rows = []
    for k, metric in enumerate(s["pattern_metric"].values.tolist()):
        for i, name in enumerate(s["region_name"].values.tolist()):
            value, low, high = s["pattern_score"].values[k, i]
            rows.append(row(
                metric, value, unit=units[metric], n=int(s.attrs["n_test_stimuli"]), interval=(low, high),
                null=float(s["pattern_null"].values[k, i]), ceiling=1.0,
                region=name, p=None if value != value else float(s["pattern_p"].values[k, i]), **made,
            ))  # fmt: skip
    return rows


def _brainscores(s: xr.Dataset, made: Row) -> list[Row]:
    """Give Brain-Score's statistic of each region, where the responses are repeated; else r alone."""
    members = {"all": np.ones(s.sizes["neuroid"], bool), **regions(s)}
    fold_r = s["fold_score"].sel(metric="pearson_r").values
    rows = []
    for name, of in zip(s["region_name"].values, s["brainscore"].values, strict=True):
        found = dict(zip(s["part"].values, map(float, of), strict=True))
        n = int(np.isfinite(fold_r[:, members[name]]).all(0).sum())
        about = {"n": n, "null": 0.0, "region": str(name), "error": round(found["error"], 6), **made}
        rows.append(row("Brain-Score, median r", found["r"], unit="Pearson r", **about))
        if np.isfinite(found["ceiling"]):
            rows.append(row("Brain-Score, explained variance", found["score"], unit="r² / reliability",
                            reliability=round(found["ceiling"], 6), squared=round(found["squared"], 6),
                            **(about | {"ceiling": 1.0})))  # fmt: skip
    return rows


def retrieved(found: dict[str, Any], made: Row) -> list[Row]:
    """Give each metric of a decoder that retrieves pictures, and what a prior adds.

    Parameters
    ----------
    found : dict
        As `decode evaluate` writes it.
    made : dict
        Labels of the rows: subject, by (what retrieved), command, seed.
    """
    method = "likelihood of responses" if "encoder" in found else "cosine of embeddings"
    kinds = [("retrieval", found["n_way"], found["scores"])]
    if "scores_among" in found:
        kinds.append((f"retrieval of {found['among']}", found["among"], found["scores_among"]))
    rows = [
        row(f"{kind}, {name}", s["value"], unit="share", n=n, interval=(s["low"], s["high"]),
            null=s["chance"], ceiling=1.0, shuffled=s.get("shuffled"), method=method, **made)
        for kind, n, scores in kinds for name, s in scores.items()
    ]  # fmt: skip
    rows += [
        row(f"gain by the prior, {measure}", gain["gain"], unit=measure, n=found["n_way"], null=0.0,
            interval=(gain["low"], gain["high"]), plain=gain["plain"], one_sample=gain["one_sample"],
            mean_of_samples=gain["mean_of_samples"], chosen=found["prior_choice"], **made)
        for measure, gain in found.get("prior", {}).items()
    ]  # fmt: skip
    return rows


def reconstructed(judged: list[dict[str, Any]], made: Row) -> list[Row]:
    """Give the measures of pictures and captions in each condition, and of a network in each layer.

    Parameters
    ----------
    judged : list of dict
        Rows of `evaluate pictures` and `evaluate captions`.
    made : dict
        Labels of the rows: subject, command, seed.
    """
    return [
        row(f"reconstruction, {j['metric']}", j["value"], unit=j["metric"], n=j["n"],
            interval=(j["low"], j["high"]), null=j["chance"],
            **made, **{k: j[k] for k in WHERE if k in j})
        for j in judged
        # of a loop all neuroids; the rest is in the scores of the subject
        if j.get("region", "all") == "all"
    ]  # fmt: skip


def compared(rows: list[Row], made: Row) -> list[Row]:
    """Give the differences between fits, and how many neuroids the better one wins.

    Parameters
    ----------
    rows : list of dict
        Of `comparison_rows`.
    made : dict
        Labels of the rows: command, seed.
    """
    unit = {"pearson_r": "r", "r2": "R2"}
    keys = ("comparison", "better", "rival", "subject", "region", "p", "q", "method")
    out = []
    for r in rows:
        same = {k: r[k] for k in keys} | made
        if r["rival"] == ALL:
            n = r["neuroids"]
            share, low, high = (r[k] / max(1, n) for k in ("wins", "wins_low", "wins_high"))
            out.append(row("neuroids won", share, unit="share", n=n, interval=(low, high), null=0.0, **same))
        else:
            out.append(row("difference", r["difference"], unit=unit[r["metric"]], n=1, null=0.0,
                           interval=(r["low"], r["high"]), equivalent=r["equivalent"], **same))  # fmt: skip
    return out


def classified(found: dict[str, Any], made: Row) -> list[Row]:
    """Give each metric of a classifier, of several time bins that with the highest AUC.

    Parameters
    ----------
    found : dict
        As `decode classify` writes it.
    made : dict
        Labels of the rows: subject, by (which classifier), command, seed.
    """
    windows, chance = found["windows"], found["chance"]
    best = windows[found["best"]["window"]]
    about: dict[str, Any] = made | {
        k: found[k] for k in ("target", "estimator", "transductive", "n_permutations")
    }
    about |= {"n_classes": len(found["classes"]), "majority": chance["majority"]}
    if len(windows) > 1:
        about |= {"time": (best["start"] + best["stop"]) / 2, "best_of": len(windows),
                  "times": [(w["start"] + w["stop"]) / 2 for w in windows]}  # fmt: skip
    rows = []
    for name, s in best["scores"].items():
        course: dict[str, Any] = {
            k: [w["scores"][name][v] for w in windows]
            for k, v in (("course", "value"), ("course_p", "p_corrected"))
        }  # fmt: skip
        rows.append(row(
            f"classes, {name}", s["value"], unit=name, n=found["n"],
            interval=(s["low"], s["high"]),
            null=0.5 if name == "auc" else chance["uniform"], ceiling=1.0, shuffled=s["null"],
            p=s["p_corrected"], per_fold=s["per_fold"], **about, **(course if len(windows) > 1 else {}),
        ))  # fmt: skip
    return rows


def _peaks(s: xr.Dataset, made: Row) -> list[Row]:
    """Give the highest bin of each region, and when clusters of bins are above chance."""
    rows = []
    middle = (s["start"].values + s["stop"].values) / 2
    members = {"all": np.ones(s.sizes["neuroid"], bool), **regions(s)}
    for k, name in enumerate(s["region_name"].values):
        course, p = s["region_time_r"].values[k], s["region_time_p"].values[k]
        if not np.isfinite(course[:, 0]).any():
            continue
        at = int(np.nanargmax(course[:, 0]))
        good = middle[p < 0.05]
        rows.append(row(
            "highest mean test r of a time bin", course[at, 0], unit="Pearson r", n=int(members[name].sum()),
            interval=(course[at, 1], course[at, 2]), null=0.0, region=str(name), time=float(middle[at]),
            cluster_p=float(p[at]), significant_from=float(good[0]) if len(good) else None,
            significant_to=float(good[-1]) if len(good) else None, **made,
        ))  # fmt: skip
    return rows


def _means(values: NDArray[np.float64]) -> list[float]:
    """Mean of each row over what is finite."""
    known = values[:, np.isfinite(values).all(0)]
    return [round(float(v), 6) for v in known.mean(1)] if known.size else []


def _page(label: str, rows: list[dict[str, Any]]) -> str:
    """Write the short table and all rows as a page."""
    table = pd.DataFrame(
        {
            "figure": r["name"],
            "subject": r.get("subject", ""),
            "model": f"{r['better']} less {r['rival']}" if "comparison" in r else r.get("model", ""),
            "of": r.get("region") or r.get("area_kind") or r.get("method") or "",
            "value": _number(r["value"]),
            "95 % interval": _limits(r),
            "chance": _number(r["null"]),
            "ceiling": _number(r["ceiling"]),
            "unit": r["unit"],
            "n": r["n"],
        }
        for r in rows
    ).to_html(index=False, border=0)
    style = (
        "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}pre{font-size:13px}"
        "td,th{padding:3px 10px;text-align:left;border-bottom:1px solid #ddd;white-space:nowrap}"
    )
    note = f"{rows[0]['command']} · {rows[0]['machine']} · neuroenc {rows[0]['version']}"
    title = escape(f"neuroenc: {label}")
    short = escape("\n".join([short_table({"rows": rows}), *picture_table(rows)]))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<h1>{title}</h1><p>{escape(note)}</p><pre>{short}</pre>{table}</html>\n"
    )


def _tidy(s: xr.Dataset, subject: str, model: str) -> pd.DataFrame:
    wide = s["score"].to_dataset("metric")
    for name in ("ceiling", "p", "q", "r_low", "r_high", "chosen_layer"):
        wide[name] = s[name]
    frame = wide.to_dataframe().reset_index(drop="time_bin" not in s.dims)
    return frame.assign(subject=subject, model=model, encoder=s.attrs["encoder"])


def short_table(summary: dict[str, Any]) -> str:
    """Print what a person wants to see first: one line per subject and model, one per way to retrieve."""
    rows = summary["rows"]
    drawn = [r for r in rows if r["name"].startswith("reconstruction, ")]
    between, apart = [r for r in rows if "comparison" in r], apart_table(rows)
    rows = [r for r in rows if not is_apart(r)]
    rows = [r for r in rows if not r["name"].startswith("reconstruction, ") and "comparison" not in r]
    pairs = dict.fromkeys((r["subject"], r["model"]) for r in rows if "region" in r)
    wide = max([14, *(len(model) for _, model in pairs)])
    lines = [f"{'subject':>8} {'model':<{wide}} {'mean r':>7} {'95 % interval':>16} {'ceiling':>8} "
             f"{'signif':>6} {'top-1, by correlation':>21} {'chance':>7}"] if pairs else []  # fmt: skip
    for subject, model in pairs:
        own = [r for r in rows if r.get("subject") == subject and r.get("model") == model]
        mean = next(r for r in own if r.get("region") == "all")
        share = next(r for r in own if r["name"] == "significant after FDR")
        top1 = next(r for r in own if r["name"] == "brain_to_image_top1")
        lines.append(
            f"{subject:>8} {model:<{wide}} {_number(mean['value']):>7} {_limits(mean):>16} "
            f"{_number(mean['ceiling']):>8} {_number(share['value'], 2):>6} {_number(top1['value'], 2):>21} "
            f"{_number(top1['null']):>7}"
        )
    found = [r for r in rows if r["name"] == "retrieval, brain_to_image_top1"]
    if found:
        wide = max([20, *(len(r["by"]) for r in found)])
        lines += ["", f"{'subject':>8} {'picture retrieved by':<{wide}} {'by the':<23} {'of':>5} "
                  f"{'top-1':>6} {'95 % interval':>16} {'chance':>7} {'shuffled':>9}"]  # fmt: skip
    for r in found:
        lines.append(
            f"{r['subject']:>8} {r['by']:<{wide}} {r['method']:<23} {r['n']:>5} {_number(r['value']):>6} "
            f"{_limits(r):>16} {_number(r['null']):>7} {_number(r['shuffled']):>9}"
        )
    told = classes_table(rows)
    return "\n".join(
        [*lines, *_compared_table(between), *([""] if told else []), *told, *_drawn_table(drawn), *apart]
    )


def _compared_table(rows: list[Row]) -> list[str]:
    """List comparisons over all neuroids: a line a rival, and one for the neuroids that beat them all."""
    found = [r for r in rows if r["region"] == "all"]
    if not found:
        return []
    table = [("subject", "comparison", "", "value", "95 % interval", "p", "unit")]
    for r in found:
        who = r["subject"], r["comparison"]
        if r["name"] == "difference":
            what, p, unit = f"{r['better']} less {r['rival']}", _number(r["p"], 4), r["unit"]
        else:
            what, p, unit = f"{r['better']} wins", "", f"share of {r['n']}"
        table.append((*who, what, _number(r["value"]), _limits(r), p, unit))
    wide, broad = (max(len(line[k]) for line in table) for k in (1, 2))
    return [""] + [
        f"{who:>8} {which:<{wide}} {what:<{broad}} {value:>7} {limits:>16} {p:>7} {unit}"
        for who, which, what, value, limits, p, unit in table
    ]


def classes_table(rows: list[dict[str, Any]]) -> list[str]:
    """List classifiers: a line a measure."""
    found = [r for r in rows if r["name"].startswith("classes, ")]
    if not found:
        return []
    wide = max(21, *(len(r["by"]) for r in found))
    lines = [f"{'subject':>8} {'classes told apart by':<{wide}} {'of':>3} {'measure':<17} {'value':>6} "
             f"{'95 % interval':>16} {'chance':>7} {'shuffled':>9} {'p':>6}"]  # fmt: skip
    for r in found:
        value, null, shuffled, p = (_number(r[k]) for k in ("value", "null", "shuffled", "p"))
        lines.append(f"{r['subject']:>8} {r['by']:<{wide}} {r['n_classes']:>3} "
                     f"{r['unit'].replace('_', ' ').replace('auc', 'AUC'):<17} {value:>6} {_limits(r):>16} "
                     f"{null:>7} {shuffled:>9} {p:>6}")  # fmt: skip
    lines += [
        f"{r['subject']:>8} {r['by']}: the best of {r['best_of']} time bins, at {1000 * r['time']:.0f} ms; p "
        "against the highest bin of each permutation"
        for r in found if r["unit"] == "accuracy" and "best_of" in r
    ]  # fmt: skip
    return lines


def _drawn_table(rows: list[dict[str, Any]]) -> list[str]:
    """List reconstructions between their bounds: a line a measure."""
    kept = [r for r in rows if not r["name"].endswith("two_way_reconstructions")]
    names = [c for c in BOUNDS if any(r["condition"] == c for r in kept)]
    table: dict[tuple[str, str], dict[str, float | None]] = {}
    for r in kept:
        by = r.get("network") or r.get("encoder") or ""
        by += f" {str(r['layer']).rpartition('.')[2]}" if r.get("layer") else ""
        what = f"{r['name'].removeprefix('reconstruction, ')} {by}".strip()
        table.setdefault((r["subject"], what), {})[r["condition"]] = r["value"]
    if not table:
        return []
    wide = max(28, *(len(what) for _, what in table))
    lines = ["", f"{'subject':>8} {'pictures and captions':<{wide}} " + " ".join(f"{c:>9}" for c in names)]
    for (subject, what), found in table.items():
        values = " ".join(f"{_number(found.get(c)):>9}" for c in names)
        lines.append(f"{subject:>8} {what:<{wide}} {values}")
    return lines


def _number(value: float | None, digits: int = 3) -> str:
    """Format a number; a dash where it is not known."""
    return "–" if value is None or value != value else f"{value:.{digits}f}"


def _limits(found: dict[str, Any]) -> str:
    return "[{:.3f}, {:.3f}]".format(*found["interval"]) if found["interval"] else "–"
