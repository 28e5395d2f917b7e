"""The methods of a study over several sets of recordings, which are decoded into one space, in words."""

from __future__ import annotations

from pathlib import Path

from neuroenc.config import Config, JointStudy
from neuroenc.config.decoders import JointDecoding
from neuroenc.config.joint import SharedSplit
from neuroenc.methods import features, recordings
from neuroenc.methods.decoders import FRONTS, reconstruction
from neuroenc.methods.encoders import by_gradient
from neuroenc.methods.found import Found, look
from neuroenc.methods.text import Part, code, listed, plural


def parts(study: JointStudy, folder: Path | None) -> tuple[list[Part], Config, Found]:
    """Describe a study.

    Parameters
    ----------
    study : JointStudy
    folder : Path, optional
        Of its results; those of its sets stand beside it.

    Returns
    -------
    list of Part
        Recordings of each set, features, split, the space, what is made of it.
    Config, Found
        Of the first set: all have the same features.
    """
    found = {
        name: look(of, folder.with_name(of.label) if folder else None) for name, of in study.members.items()
    }
    each = [
        Part(f"Recordings: {name}", recordings.part(of, found[name]).paragraphs)
        for name, of in study.members.items()
    ]
    first, of = next(iter(study.members.items()))
    made = [*each, _split(study.split), features.part(of, found[first]), _space(study)]
    return made, of, found[first]


def _split(s: SharedSplit) -> Part:
    held_out = {
        "dataset": "the test stimuli of each set were held out",
        "stimulus": f"a random share of {s.test_fraction:g} of the stimuli was held out"
        + (", with the same share of each category" if s.stratify else "")
        + ("" if s.n_folds == 1 else f", {s.n_folds} times"),
        "kfold": f"the stimuli were divided at random into {plural(s.n_folds, 'fold')}, each held out once",
    }[s.kind]
    alike = [] if s.by == "group" else [f"the {code(s.by)}"]
    alike += ["the content of the picture"] if s.pixels else []
    same = f", or share {listed(alike, 'or')}" if alike else ""
    return Part("Training and test", [
        f"The stimuli of all sets were divided together (`split: {s.kind}`): {held_out}, and what belongs "
        f"together in one set{same} across sets stands on one side in all of them. Within training, "
        f"{s.n_inner} inner folds serve all choices (seed {s.seed})."
    ])  # fmt: skip


def _space(study: JointStudy) -> Part:
    texts = [_network(study.joint, study.texts is not None), _scores(study)]
    if (r := study.reconstruction) is not None:
        # the network that was decoded looks at what is drawn; there is no prior
        drawn = r.model_copy(update={"judges": [r.model], "n_validation": 0})
        texts.append(f"From each recording: {reconstruction(drawn)}")
    return Part("One space", texts)


def _network(d: JointDecoding, with_texts: bool) -> str:
    most = "all" if d.n_components is None else f"the first {d.n_components:,}"
    layers = f" of the layers {listed(map(code, d.layers))}" if d.layers else ""
    fronts = [f"{FRONTS[kind]} for {code(name)}" for name, kind in d.front.items() if kind != "linear"]
    windows = [f"{code(name)} from {low:g} to {high:g} s" for name, (low, high) in d.window.items()]
    contrast = "a contrastive loss with the pictures"
    if with_texts:
        contrast += f" (share {1 - d.text:g}) and with their texts ({d.text:g})"
    return (
        f"All recordings were decoded into one space [@li2025], {most} whitened principal components of the "
        f"embeddings{layers} of training pictures. Each recording has an adapter, {FRONTS['linear']}"
        + (f", but {listed(fronts)}" if fronts else "")
        + f" (weight decay {d.first_decay:g}), beside a linear path that begins at ridge; a network of "
        f"{plural(d.n_blocks, 'residual block')} and {plural(d.n_hidden, 'hidden unit')} (dropout "
        f"{d.dropout:g}), which is told modality and recording, serves all. A training row is one stimulus "
        f"in a recording; the loss is {contrast} and, with the weight {d.squared_error:g}, the squared error."
        + (f" Time bins were those of {listed(windows)}." if windows else "")
        + by_gradient(d, "validation cosine")
    )


def _scores(study: JointStudy) -> str:
    repeats = "the mean of all repetitions"
    if study.joint.repeats:
        repeats += f", and of {listed(study.joint.repeats, 'or')} at random"
    text = (
        "Retrieval was within each recording, of the picture by the response and of the response by the "
        "picture; across modalities, of a concept's response in one by that in another; and jointly, of the "
        "picture by the responses of several modalities together. Test responses are "
        f"{repeats}; intervals of 95 % are over "
        "concepts, and the null is the same network trained on labels that were dealt anew."
    )
    if study.leave_out:
        through = {
            "mean": "the mean of what the adapters of its modality decode",
            "chosen": "that adapter of its modality which is best on its own training stimuli",
        }[study.joint.adapter]
        were = "was" if len(study.leave_out) == 1 else "were each"
        text += (
            f" {listed(map(code, study.leave_out))} {were} also read by a space that was trained without it, "
            f"through {through}."
        )
    return text
