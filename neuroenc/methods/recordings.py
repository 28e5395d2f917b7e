"""Recordings and splits, in words."""

from __future__ import annotations

from neuroenc.config import Config, Dataset, Split
from neuroenc.methods.found import Found
from neuroenc.methods.text import Part, code, listed, plural

DATASETS: dict[str, str] = {
    "nsd": "the Natural Scenes Dataset, 7T fMRI of people who saw photographs [@allen2022]",
    "nsd_synthetic": "NSD-synthetic, 7T fMRI of people who saw made-up pictures [@gifford2026; @allen2022]",
    "nsd_imagery": "NSD-Imagery, 7T fMRI of people who saw or imagined pictures [@kneeland2025; @allen2022]",
    "v4": "recordings of neurons of macaque V4 that were shown natural pictures [@cowley2026]",
    "majajhong2015": "recordings of macaque V4 and IT that were shown objects [@majaj2015]",
    "freemanziemba2013": "recordings of macaque V1 and V2 that were shown textures and noise [@freeman2013]",
    "haxby": "fMRI of people who saw faces and objects in blocks [@haxby2001]",
    "mtl": "single neurons of the human medial temporal lobe [@faraut2018]",
    "n170": "EEG of people who saw faces and houses, of the repository muse-lsl [@muselsl]",
    "algonauts2023": "the Algonauts 2023 challenge, a part of the Natural Scenes Dataset [@gifford2023; "
    "@allen2022]",
    "bold5000": "BOLD5000, fMRI of people who saw photographs [@chang2019]",
    "things_fmri": "THINGS-fMRI, of people who saw objects [@hebart2023]",
    "things_meg": "THINGS-MEG, of people who saw objects [@hebart2023]",
    "things_eeg1": "THINGS-EEG1, of people who saw objects in fast streams [@grootswagers2022]",
    "things_eeg2": "THINGS-EEG2, of people who saw objects in fast streams [@gifford2022]",
    "treebank": "the Brain Treebank, intracranial recordings of people who watched films [@wang2024]",
    "stories": "fMRI of people who listened to stories [@lebel2023]",
    "pereira2018": "fMRI of people who read sentences and saw concepts [@pereira2018]",
    "tvsd": "the THINGS ventral stream spiking dataset, of macaque V1, V4 and IT [@papale2025]",
    "laion_fmri": "LAION-fMRI, of people who saw photographs [@laionfmri]",
    "mosaic": "MOSAIC, fMRI datasets that were prepared alike [@lahner2025]",
    "glmsingle": "single-trial fMRI responses that GLMsingle estimated [@prince2022]",
    "custom": "recordings of our own",
}
# which options of `dataset` have a say, by dataset; of the others the defaults mean nothing
READ: dict[str, tuple[str, ...]] = {
    "nsd": ("space", "preparation", "mask", "regions", "sessions"),
    "nsd_synthetic": ("space", "preparation", "mask", "regions"),
    "nsd_imagery": ("space", "preparation", "mask", "regions", "task"),
    "haxby": ("mask",),
    "bold5000": ("preparation", "mask"),
    "pereira2018": ("preparation",),
    "tvsd": ("preparation",),
    "glmsingle": ("preparation", "mask", "regions", "sessions"),
    "laion_fmri": ("mask", "regions", "sessions", "partition"),
    "treebank": ("events", "reference", "band", "window", "step", "span", "sessions", "films", "clip"),
}
SAID = {
    "space": "the space {}", "preparation": "the preparation {}", "mask": "the mask {}",
    "regions": "regions of {}", "sessions": "the first {} sessions", "task": "the task {}",
    "partition": "the split {}", "events": "{} as stimuli", "reference": "the reference {}",
    "band": "the signal {}", "window": "time bins of {} s", "step": "a bin every {} s",
    "span": "bins from {} s around the onset", "films": "the films themselves", "clip": "clips of {} s",
}  # fmt: skip


def options(d: Dataset) -> str:
    """Say what of a dataset is read, and how."""
    said = []
    for key in READ.get(d.name, ()):
        value = getattr(d, key)
        if value is None or value == [] or (key == "clip" and d.films is None):
            continue
        shown = f"{value:g}" if isinstance(value, (int, float)) else code(value)
        if isinstance(value, list):
            shown = listed(map(code, value))
        if isinstance(value, tuple):
            shown = " to ".join(f"{v:g}" for v in value)
        said.append(SAID[key].format(shown))
    if d.atlas:
        said.append(
            f"parcels of {code(d.atlas.rpartition('/')[2])}"
            + (", whose means stand for their neuroids" if d.average else "")
        )
    return f" Read were {listed(said)}." if said else ""


def part(config: Config, found: Found) -> Part:
    """Describe the recordings of a run."""
    d = config.dataset
    simulated = d.name == "nsd" and d.root is None
    if simulated:
        s = config.simulate
        first = (
            "The recordings are simulated, in the layout of the Natural Scenes Dataset [@allen2022]: "
            f"{plural(s.n_shared, 'picture')} that all subjects see {s.repeats} times, and "
            f"{s.n_unique:,} of each subject's own, of "
            f"{s.picture_size} px, over {plural(s.sessions, 'session')}; {s.n_voxels:,} voxels of the "
            f"first subject of {s.n_subjects}, a share of {s.silent:g} of them without signal, and a "
            f"median noise-ceiling SNR of {s.ncsnr:g} (spread of its logarithm {s.ncsnr_spread:g}, "
            f"drift between sessions {s.drift:g}, seed {s.seed})."
        )
    else:
        first = f"The data are {DATASETS[d.name]}."
    who = "subject" if len(config.subjects) == 1 else "subjects"
    texts = [f"{first} Analysed: {who} {listed(map(code, config.subjects))}.{options(d)}"]
    for subject, r in found.recorded.items():
        fewest, most = r.repetitions
        times = plural(most, "time") if fewest == most else f"{fewest} to {most} times"
        texts.append(
            f"Of subject {code(subject)} there are {plural(r.neuroids, 'neuroid')} and "
            f"{plural(r.presentations, 'presentation')} of "
            f"{plural(r.stimuli, 'stimulus', 'stimuli')}, each shown {times}; "
            f"responses are in {code(r.units)}."
        )
    return Part("Recordings", texts)


def _kind(s: Split) -> str:
    space = code(s.features) if s.features else ""
    return {
        "dataset": "the dataset's own test stimuli were held out",
        "stimulus": f"a random share of {s.test_fraction:g} of the stimuli was held out, "
        + ("once" if s.n_folds == 1 else f"{s.n_folds} times")
        + (", with the same share of each category" if s.stratify else ""),
        "kfold": f"the stimuli were divided at random into {plural(s.n_folds, 'fold')}, each held out once",
        "group": "each group of stimuli (a run, a story, the pictures of a concept) was held out once",
        "chronological": f"each film was cut into {s.n_folds} stretches, each held out once, without the "
        f"{s.embargo:g} s around it in training",
        "cluster": f"the stimuli were divided into {plural(s.n_folds, 'cluster')} in the space of {space}, "
        "each held out once",
        "distant": f"the stimuli farthest from all others in the space of {space} were held out, a share of "
        f"{s.test_fraction:g}, and as many that have near neighbours",
        "category": f"the categories were dealt into {plural(s.n_folds, 'set')}, each held out once",
    }[s.kind]


def split_part(config: Config, found: Found) -> Part:
    """Describe the split of a run."""
    s = config.split
    text = (
        f"For testing, {_kind(s)} (`split: {s.kind}`). No stimulus, and no group of "
        "stimuli that belong together, stands on both "
        f"sides. Within training, {s.n_inner} inner folds serve all choices (seed {s.seed})."
    )
    if s.features and s.kind not in ("cluster", "distant"):
        text += (
            " Scores were also held against the distance of a test stimulus to the nearest training "
            f"stimulus in the space of {code(s.features)}."
        )
    if found.scored:
        each = [
            f"{n.n_training:,} training and {n.n_test:,} test stimuli of subject {code(subject)}"
            for subject, n in found.scored.items()
        ]
        text += f" There are {listed(each)}"
        if s.kind != "dataset" and (s.kind, s.n_folds) != ("stimulus", 1):
            text += ", training stimuli in the smallest fold and test stimuli in all folds together"
        text += "."
    texts = [text]
    if (curve := config.learning_curve) is not None:
        fits = listed(map(code, curve.fits)) if curve.fits else "all fits"
        texts.append(
            f"To see how accuracy grows, {fits} were also fitted to the first "
            f"{listed(f'{n:,}' for n in curve.sizes)} training stimuli of a seeded order, "
            "with the same test stimuli and all choices within the subset."
        )
    return Part("Training and test", texts)
