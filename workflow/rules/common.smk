import atexit
import json
import os
import re
import shlex
import sys
import time
from pathlib import Path


def refuse(message):
    """End with one line; Snakemake would wrap any exception in a traceback of its own."""
    print(f"neuroenc: {message}", file=sys.stderr, flush=True)
    os._exit(2)


def check_config(text):
    """One line about the first thing that is wrong, where neuroenc can be imported here.

    The launcher may live in an environment without it; the schema is checked in either case.
    """
    try:
        from neuroenc.checks import check
        from neuroenc.config import Config, parse
        from neuroenc.errors import InputError
    except ImportError:
        return
    try:
        check(parse(Config, json.loads(text), source="the configuration"))
    except InputError as error:
        refuse(error)


check_config(json.dumps(config))


def hold(label):
    """Keep a second run of the same results away for as long as this process lives, however it ends."""
    import fcntl

    path = Path(".snakemake") / f"neuroenc-{label}.lock"
    path.parent.mkdir(exist_ok=True)
    held = path.open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        refuse(
            f"Another run of {label!r} is writing into this folder. Wait for it, end it, or give this one "
            "another `label`."
        )
    return held


# jobs read this file too; what only looks does not wait (Snakemake knows its executor only later)
LOOKS = r"-[a-z]*n[a-z]*|--(dry|lint|report|list|summary|detailed|dag|rulegraph|filegraph|unlock).*"
if workflow.is_main_process and not any(re.fullmatch(LOOKS, a) for a in sys.argv[1:]):
    HELD = hold(config.get("label", ""))


STARTED, WHERE = time.time(), Path("logs").absolute()


def show_errors():
    """Print the one line in which each failed job says what is wrong."""
    for path in sorted(WHERE.rglob("*.log")):
        if path.stat().st_mtime >= STARTED:
            for line in path.read_text().splitlines():
                if line.startswith("neuroenc: "):
                    print(f"{line}  [{os.path.relpath(path)}]", file=sys.stderr)


atexit.register(
    show_errors
)  # onerror: is not taken over by those who use this as a module


def section(*keys):
    """A part of the configuration as JSON, so that a job reruns when just that part changes.

    A function, because Snakemake reads wildcards into the braces of plain text.
    """

    def text(wildcards):
        found = config
        for key in keys:
            found = found.get(key, {})
        return json.dumps(found)

    return text


def model_section(wildcards):
    return json.dumps(config["models"][wildcards.model])


def split_of_projection(wildcards):
    """PCA is fitted to training stimuli, so it waits for the split."""
    projection = config["models"][wildcards.model].get("projection") or ""
    return f"{RUN}/splits.nc" if projection.startswith("pca") else []


def memory(factor, base=1000):
    """Forecast of a job's memory in MB from the size of its inputs."""

    def forecast(wildcards, input):
        # a file that is still to be made raises FileNotFoundError, and Snakemake asks again later
        return int(base + factor * sum(map(os.path.getsize, input)) / 1e6)

    return forecast


# Options of the command line are lists of --name=value, which a shell command takes by :q alone: quoted, and
# a value that begins with a dash is still a value. They are functions, since Snakemake reads wildcards into
# the braces of plain text.


def subject_flags(wildcards):
    return [f"--subject={s}" for s in SUBJECTS]


def responses_flags(wildcards, input):
    return [f"--responses={s}={f}" for s, f in zip(SUBJECTS, input.responses)]


def scores_flags(wildcards, input):
    """Name the files of scores: by fit within a subject, else by subject and fit."""
    names = NAMES
    if "subject" not in wildcards.keys():
        names = [f"{s}:{n}" for s in SUBJECTS for n in NAMES]
    return [f"--scores={n}={f}" for n, f in zip(names, input.scores)]


def retrieval_flags(wildcards, input):
    names = [f"{s}:{d}" for s in SUBJECTS for d in DECODED]
    return [f"--retrieval={n}={f}" for n, f in zip(names, input.retrieval)]


def classification_flags(wildcards, input):
    names = [f"{s}:{d}" for s in SUBJECTS for d in CLASSIFIERS]
    return [f"--classification={n}={f}" for n, f in zip(names, input.classification)]


def reconstruction_flags(wildcards, input):
    return [
        f"--reconstruction={s}={f}"
        for k in ("pictures", "captions")
        for s, f in zip(SUBJECTS, getattr(input, k, []))
    ]


def low_level_flags(wildcards, input):
    return (
        [f"--low-level={input.low}", f"--low-level-null={input.low_null}"]
        if START
        else []
    )


def judge_flags(wildcards, input):
    """Models by whose layers pictures are identified, and encoders that predict responses to them."""

    def options(name):
        return json.dumps(config["models"][name])

    flags = [f"--judge={name}={options(name)}" for name in DRAWN.get("judges", [])]
    for name, weights in zip(DRAWN.get("closed_loop", []), input.weights):
        flags.append(f"--encoder={name}={weights}={options(FITS[name][1])}")
    return flags


def synthesis_judge(wildcards, input):
    model = FITS[SYNTHESIS["judge"]][1]
    return f"{input.weights}={json.dumps(config['models'][model])}"


def stem(name):
    """The part of a file name that says encoder and model."""
    encoder, model = FITS.get(name, ("stack", "all"))
    return f"enc-{encoder}_feat-{model}"


def all_scores(subjects="{subject}"):
    """Files of scores of all fits, for one subject or a list of them."""
    each = [subjects] if isinstance(subjects, str) else subjects
    return [
        f"{RUN}/sub-{s}/sub-{s}_{stem(n)}_desc-scores.nc" for s in each for n in NAMES
    ]


def encoder_section(wildcards):
    """Options of one encoder, but not the list of models: a longer one reruns nothing."""
    options = config["encoders"][wildcards.encoder]
    return json.dumps({k: v for k, v in options.items() if k != "models"})


def decoder_section(wildcards):
    options = config["decoders"][wildcards.decoder]
    return json.dumps({k: v for k, v in options.items() if k != "models"})


def reconstruction_section(wildcards):
    """What drawing needs; other judges redraw nothing."""
    left = ("judges", "closed_loop", "captions")
    return json.dumps({k: v for k, v in DRAWN.items() if k not in left})


def members_flags(wildcards, input):
    return [f"--predictions={n}={f}" for n, f in zip(STACK, input.predictions)]


def of_each_subject(option, files):
    return [f"--{option}={s}={f}" for s, f in zip(SUBJECTS, files)]


def simulation_flags(wildcards):
    return [
        f"--{k.replace('_', '-')}={v}" for k, v in config.get("simulate", {}).items()
    ]


def caption_flags(wildcards):
    return [f"--layer={CAPTIONS['layer']}"] * bool(CAPTIONS.get("layer")) + [
        "--generate"
    ] * bool(CAPTIONS.get("generate"))


def clip_section(wildcards):
    return json.dumps(config["models"][DRAWN["model"]])


def command_of_the_run(wildcards):
    path = os.path.relpath(workflow.configfiles[-1])
    return shlex.join(["snakemake", "--configfile", path])


SUBJECTS = config["subjects"]
MODELS = list(config["models"])
config.setdefault("encoders", {"ridge": {}})
for label, options in config["encoders"].items():
    options.setdefault("name", label)
# what is fitted, name -> (encoder, model): as in neuroenc.config.Config.fits
FITS = {
    model if label == next(iter(config["encoders"])) else f"{model}-{label}": (
        label,
        model,
    )
    for label, options in config["encoders"].items()
    for model in MODELS
    if not options.get("models") or model in options["models"]
}
STACK = (
    (config["stack"] or {}).get("members") or list(FITS) if "stack" in config else []
)
ATTENTION = [
    n
    for n, (encoder, _) in FITS.items()
    if config["encoders"][encoder]["name"] == "attention"
]
NAMES = list(FITS) + (["stack"] if STACK else [])
CAPTIONS = config.get("captions") or {}
DECODERS = config.get("decoders", {})
for label, options in DECODERS.items():
    options.setdefault("name", label)
CLASSIFIERS = [k for k, v in DECODERS.items() if v["name"] == "classifier"]
# what retrieves: each decoder, and beside decoders each encoder by the likelihood of the response
DECODED = [
    f"dec-{label}_feat-{model}"
    for label, options in DECODERS.items()
    for model in MODELS
    if label not in CLASSIFIERS
    and (not options.get("models") or model in options["models"])
] + ([stem(n) for n in NAMES] if len(DECODERS) > len(CLASSIFIERS) else [])
SYNTHESIS = config.get("synthesis") or {}
DRAWN = config.get("reconstruction") or {}
if DRAWN:
    DRAWN_FROM = f"dec-{DRAWN['decoder']}_feat-{DRAWN['model']}"
    START = DRAWN.get("low_level")
    START_FROM = START and f"dec-{START}_feat-{DECODERS[START]['models'][0]}"
RUN = f"<results>/{config['label']}"
SUB = f"{RUN}/sub-{{subject}}/sub-{{subject}}"
LOGS = f"<logs>/{config['label']}"
BENCHMARKS = f"{LOGS}/benchmarks"
SURFACE = config.get("figures", {}).get("surface", False)
VOLUME = config.get("figures", {}).get("volume", False)
TIMES = config.get("figures", {}).get("time_course", False)
FIGURES = ["regions", "scatter", "layers"]
ROOT = config["dataset"].get("root")
# a program may fetch these; of the others neuroenc says where a person finds them
FETCHED_DATASETS = ("nsd", "haxby", "stories", "things_meg")
SIMULATED = config["dataset"]["name"] == "nsd" and not ROOT
DATASET_ROOT = (
    f"<resources>/{config['label']}/nsd"
    if SIMULATED
    else os.path.expanduser(os.path.expandvars(ROOT or ""))
)
FETCHABLE = ROOT and config["dataset"]["name"] in FETCHED_DATASETS
# of a job that Snakemake starts for itself: download:
DOWNLOADING = "download" in {a.partition(":")[0] for a in sys.argv}
if (
    not SIMULATED
    and not os.path.exists(DATASET_ROOT)
    and not (FETCHABLE and DOWNLOADING)
):
    refuse(
        f"File not found: {DATASET_ROOT or 'null'}. Point dataset.root at the recordings."
    )
CHECKPOINTS = [
    os.path.expandvars(m["weights"])
    for m in config["models"].values()
    if m.get("weights") and not m["weights"].startswith("random:")
]

# known by name, without weights of one's own
FETCHED = sorted(
    {
        m["network"]
        for m in config["models"].values()
        if not m.get("extractor") and not m.get("weights")
    }
    | ({DRAWN["generator"]} if DRAWN.get("generator", "nano") != "nano" else set())
)


# what names may hold: neuroenc.sections says so, through the schema
with open(workflow.source_path("../schemas/config.schema.json")) as file:
    SCHEMA = json.load(file)
NAME = SCHEMA["properties"]["subjects"]["items"]["pattern"].strip("^$")
REGION = SCHEMA["$defs"]["Synthesis"]["properties"]["regions"]["items"]["pattern"]


wildcard_constraints:
    subject=NAME,
    model=NAME,
    encoder=NAME,
    decoder=NAME,
    region=REGION.strip("^$"),
