"""What the real inputs show, beyond their runs of the workflow: `make real`.

Reads results/v4, haxby, mtl and n170, adds the shuffled control and the decoding of categories, and
writes results/real.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, LeaveOneGroupOut, PredefinedSplit

from neuroenc.arrays import load
from neuroenc.config import load_config
from neuroenc.decoders.retrieve import cosine, retrieval
from neuroenc.encoders.encode import encode
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.evaluation.evaluate import evaluate
from neuroenc.files import write_json
from neuroenc.records import row

COMMAND = "make real"
V4, HAXBY = Path("results/v4"), Path("results/haxby")


def v4_rows() -> list[dict]:
    rows = [
        r | {"command": COMMAND, "recording": "v4"}
        for r in json.loads((V4 / "summary.json").read_text())["rows"]
    ]
    # the same pipeline after the pictures have been dealt anew to the responses
    config = load_config("config/v4.yaml")
    responses = load(V4 / "sub-201025/sub-201025_responses.nc", "responses")
    features = load(V4 / "feat-mobilenetv2_features.nc", "features")
    shown = np.isin(features["stimulus_id"].values, responses["stimulus_id"].values)
    ids = features["stimulus_id"].values.copy()
    ids[shown] = np.random.default_rng(0).permutation(ids[shown])
    shuffled = features.assign_coords(stimulus_id=("stimulus", ids))
    predictions, _ = encode(responses, shuffled, load(V4 / "splits.nc", "splits"), config.encoders["ridge"])
    scores = evaluate(responses, predictions, config.evaluation)
    r = scores["score"].sel(metric="pearson_r").values
    rows.append(
        row("mean test r, pictures shuffled", np.nanmean(r), unit="Pearson r", n=len(r), null=0.0,
            command=COMMAND, seed=0, recording="v4", subject="201025", model="mobilenetv2")
    )  # fmt: skip
    return rows


def haxby_rows() -> list[dict]:
    rows = [
        r | {"command": COMMAND, "recording": "haxby"}
        for r in json.loads((HAXBY / "summary.json").read_text())["rows"]
    ]
    responses = load(HAXBY / "sub-1/sub-1_responses.nc", "responses")
    X = np.nan_to_num(responses["response"].values)
    run = responses["run"].values
    category = np.array([s.split("-")[-1] for s in responses["stimulus_id"].values])
    names, truth = np.unique(category, return_inverse=True)
    correct, correct_shuffled = np.zeros(len(X), bool), np.zeros(len(X), bool)
    rng = np.random.default_rng(0)
    shuffled = truth.copy()
    for r in np.unique(run):
        shuffled[run == r] = rng.permutation(shuffled[run == r])
    for labels, hits in ((truth, correct), (shuffled, correct_shuffled)):
        indicator = np.eye(len(names))[labels]
        for train, test in LeaveOneGroupOut().split(X, groups=run):
            folds = PredefinedSplit(np.unique(run[train], return_inverse=True)[1])
            ridge = RidgeCV(np.logspace(0, 6, 13), cv=folds).fit(X[train], indicator[train])
            hits[test] = ridge.predict(X[test]).argmax(1) == labels[test]
    for name, hits in (("", correct), (", categories shuffled", correct_shuffled)):
        draws = rng.binomial(len(hits), hits.mean(), 10_000) / len(hits)
        rows.append(
            row(f"8-way decoding, leave one run out{name}", hits.mean(), unit="accuracy", n=len(hits),
                interval=tuple(np.quantile(draws, [0.025, 0.975]).tolist()), null=1 / len(names),
                ceiling=1.0, command=COMMAND, seed=0, recording="haxby", subject="1",
                transductive=responses.attrs["transductive"])
        )  # fmt: skip
    return rows


def summary_rows(name: str) -> list[dict]:
    found = json.loads(Path(f"results/{name}/summary.json").read_text())["rows"]
    return [r | {"command": COMMAND, "recording": name} for r in found]


def mtl_rows() -> list[dict]:
    """Pictures and categories from spikes between 200 and 1700 ms after the onset, the usual window."""
    responses = load("results/mtl/sub-all/sub-all_responses.nc", "responses")
    stimuli = load("results/mtl/stimuli.nc", "stimuli").set_index(stimulus="stimulus_id")
    ids, phase = responses["stimulus_id"].values, responses["run"].values
    window = (responses["start"].values > 0.2 - 1e-6) & (responses["stop"].values < 1.7 + 1e-6)
    counts = responses["response"].values[..., window].sum(2).astype(float)
    units = np.empty_like(counts)
    for p in (0, 1):  # firing drifts between the phases
        spread = counts[phase == p].std(0)
        units[phase == p] = (counts[phase == p] - counts[phase == p].mean(0)) / np.where(
            spread > 0, spread, 1
        )
    learned = {s: i for i, s in enumerate(ids) if phase[i] == 0}
    asked = np.array([i for i, s in enumerate(ids) if phase[i] == 1 and s in learned])
    rng = np.random.default_rng(0)
    rows = []
    for what, order in (("", np.arange(len(asked))), (", pictures shuffled", rng.permutation(len(asked)))):
        known = units[[learned[ids[i]] for i in asked[order]]]
        found = retrieval(cosine(units[asked], known))
        for name in ("brain_to_image_top1", "brain_to_image_top5"):
            s = found[name]
            rows.append(
                row(f"picture seen again, {name}{what}", s["value"], unit="accuracy", n=len(asked),
                    interval=(s["low"], s["high"]), null=s["chance"], ceiling=1.0, command=COMMAND, seed=0,
                    recording="mtl", subject="all", transductive="units are z-scored within each phase")
            )  # fmt: skip
    category = stimuli["category"].sel(stimulus=ids).values
    truth = category.argmax(1)
    for what, labels in (("", truth), (", categories shuffled", None)):
        if labels is None:
            dealt = dict(
                zip(np.unique(ids), rng.permutation(truth[np.unique(ids, return_index=True)[1]]), strict=True)
            )
            labels = np.array([dealt[s] for s in ids])
        hit = np.zeros(len(ids), bool)
        for train, test in GroupKFold(10, shuffle=True, random_state=0).split(units, groups=ids):
            inner = list(GroupKFold(5).split(train, groups=ids[train]))
            ridge = RidgeCV(np.logspace(1, 6, 11), cv=inner).fit(
                units[train], np.eye(category.shape[1])[labels[train]]
            )
            hit[test] = ridge.predict(units[test]).argmax(1) == labels[test]
        draws = rng.binomial(len(hit), hit.mean(), 10_000) / len(hit)
        rows.append(
            row(f"5-way category of new pictures{what}", hit.mean(), unit="accuracy", n=len(hit),
                interval=tuple(np.quantile(draws, [0.025, 0.975]).tolist()), null=1 / category.shape[1],
                ceiling=1.0, command=COMMAND, seed=0, recording="mtl", subject="all",
                transductive="units are z-scored within each phase")
        )  # fmt: skip
    return rows


def n170_rows() -> list[dict]:
    """Faces against houses from four channels, leave one run out: whole epochs, and 40 ms at a time."""
    responses = load("results/n170/sub-1/sub-1_responses.nc", "responses")
    stimuli = load("results/n170/stimuli.nc", "stimuli").set_index(stimulus="stimulus_id")
    face = stimuli["category"].sel(stimulus=responses["stimulus_id"].values).values[
        :, list(stimuli["category_name"].values).index("face")] > 0  # fmt: skip
    X, run = responses["response"].values, responses["run"].values
    n_windows = X.shape[2] // 10
    X = X[..., : 10 * n_windows].reshape(*X.shape[:2], n_windows, 10).mean(-1)
    centre = responses["start"].values[: 10 * n_windows].reshape(n_windows, 10).mean(1)
    rng = np.random.default_rng(0)
    shuffled = face.copy()
    for r in np.unique(run):
        shuffled[run == r] = rng.permutation(shuffled[run == r])

    def auc(design: np.ndarray, labels: np.ndarray) -> list[float]:
        found = []
        for r in np.unique(run):
            test = run == r
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
            model.fit(design[~test], labels[~test])
            found.append(roc_auc_score(labels[test], model.decision_function(design[test])))
        return found

    rows = []
    for name, labels in (("", face), (", categories shuffled", shuffled)):
        found = auc(X.reshape(len(X), -1), labels)
        draws = rng.choice(found, (10_000, len(found))).mean(1)
        rows.append(
            row(f"faces against houses, leave one run out{name}", np.mean(found), unit="AUC", n=len(X),
                interval=tuple(np.quantile(draws, [0.025, 0.975]).tolist()), null=0.5, ceiling=1.0,
                command=COMMAND, seed=0, recording="n170", subject="1", per_fold=found)
        )  # fmt: skip
    course = [float(np.mean(auc(X[:, :, k], face))) for k in range(n_windows)]
    best = int(np.argmax(course))
    rows.append(
        row("faces against houses, best window of 40 ms", course[best], unit="AUC", n=len(X), null=0.5,
            ceiling=1.0, command=COMMAND, seed=0, recording="n170", subject="1", time=float(centre[best]),
            times=centre.tolist(), course=course)
    )  # fmt: skip
    return rows


def main() -> None:
    rows = v4_rows() + haxby_rows() + summary_rows("mtl") + mtl_rows() + summary_rows("n170") + n170_rows()
    write_json({"label": "real", "rows": rows}, "results/real.json")
    wanted = [
        r for r in rows
        if r["name"].startswith(("mean test r,", "8-way", "brain_to_image_top1", "median normalised",
                                "faces against", "retrieval, brain_to_image_top1", "picture seen", "5-way"))
        or r.get("region") == "all"
    ]  # fmt: skip
    for r in wanted:
        chance = "" if r["null"] is None else f"  (chance {r['null']:.3f})"
        who = f"{r['recording']} {r['subject']} {r.get('model', '')}"
        print(f"{who:26s} {r['name'] + ' ' + r.get('by', ''):54s} {r['value']:.3f}{chance}")
    print("written: results/real.json")


if __name__ == "__main__":
    main()
