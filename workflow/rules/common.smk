import atexit
import base64
import errno
import json
import os
import re
import shlex
import shutil
import subprocess
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
        from neuroenc.config import Config, JointStudy, parse
        from neuroenc.errors import InputError
    except ImportError:
        return
    asked = json.loads(text)
    try:
        if "sets" in asked:  # each is checked as a configuration of its own
            parse(JointStudy, asked, source="the configuration")
        else:
            check(parse(Config, asked, source="the configuration"))
    except InputError as error:
        refuse(error)


if workflow.is_main_process:  # jobs read this file too
    check_config(json.dumps(config))


# what is done once a process: a module is read again at each `use rule` of the workflow that uses it
ONCE = vars(workflow).setdefault("of_neuroenc", {})


ROOM = 40_000  # bytes that Snakemake's notes and a log take


def no_room(path):
    """Say why nothing more can be written to a file, if so; else it is there, and empty."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            written = file.write(bytes(ROOM))
            file.truncate(0)
    except OSError as error:
        return error.strerror
    return "" if written == ROOM else os.strerror(errno.ENOSPC)


def hold(label):
    """Keep a second run of the same results away for as long as this process lives, however it ends."""
    import fcntl

    path = Path(".snakemake") / f"neuroenc-{label}.lock"
    if why := no_room(path):
        refuse(
            f"Cannot write {path.absolute()}: {why}. Free space, or start in another folder."
        )
    held = path.open("a")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        refuse(
            f"Another run of {label!r} is writing into this folder. Wait for it, end it, or give this one "
            "another `label`."
        )
    ONCE[label] = held


def left_behind(label):
    """Numbers of cluster jobs in the queue that earlier runs submitted for these results."""
    # where SLURM does not answer nothing can be submitted twice either
    asked = ["squeue", "--me", "--noheader", "--format=%i"]
    queued = set(subprocess.run(asked, capture_output=True, text=True).stdout.split())
    return (queued & waiting(label)) | {n for n in queued if runs(n, label)}


def waiting(label):
    """Numbers of jobs that have not begun: Snakemake notes them by their output, until they do."""
    notes, found = Path(".snakemake/incomplete"), set()
    for path in filter(Path.is_file, notes.rglob("*")):
        # the name is the output's, in pieces that begin with @ where it is long
        parts = [part.removeprefix("@") for part in path.relative_to(notes).parts]
        try:
            output = base64.urlsafe_b64decode("".join(parts)).decode()
            number = json.loads(path.read_text())["external_jobid"]
        except (ValueError, KeyError, FileNotFoundError):
            continue
        if label in Path(output).parts:
            found.add(number)
    return found


def runs(number, label):
    """Whether a job that has begun says in its log that it makes these results."""
    logs = Path(".snakemake/slurm_logs").rglob(f"{number}.log")
    folder = os.sep.join(["", label, ""])
    return any(folder in path.read_text(errors="replace") for path in logs)


def await_left_behind(label):
    """Let jobs of a run that was killed end: submitted twice they would write the same files."""
    said = False
    while numbers := left_behind(label):
        if not said:
            print(
                f"neuroenc: A run that was killed left jobs {', '.join(sorted(numbers))}. Waiting for them; "
                "what they make is kept. To start over instead, scancel them.",
                file=sys.stderr,
                flush=True,
            )
        said = True
        time.sleep(5)


# jobs read this file too; what only looks does not wait (Snakemake knows its executor only later)
LOOKS = r"-[a-z]*n[a-z]*|--(dry|lint|report|list|summary|detailed|dag|rulegraph|filegraph|unlock).*"
RUNS = workflow.is_main_process and not any(
    re.fullmatch(LOOKS, a) for a in sys.argv[1:]
)
if RUNS and config.get("label", "") not in ONCE:
    hold(config.get("label", ""))
    if shutil.which("squeue"):
        await_left_behind(config.get("label", ""))


HERE = workflow.current_basedir


def answer_for_sacct():
    """Let squeue answer where the plugin asks sacct of a cluster that keeps no accounts.

    It does while SLURM's controller is down, and forgets all jobs where sacct cannot answer: the run would hang.
    """
    # a module that is read from GitHub has no such folder
    found = (
        Path(str(HERE.get_path_or_uri(secret_free=True))).parent.parent
        / "profiles/slurm/without-accounting"
    )
    if shutil.which("scontrol") and found.is_dir():
        asked = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True
        )
        if re.search(r"AccountingStorageType\s*=\s*\S*none", asked.stdout):
            os.environ.update(PATH=os.pathsep.join([str(found), *os.get_exec_path()]))


if workflow.is_main_process and workflow.resource_settings.nodes:
    # profiles/default says cores: all, of the machine that submits; a job of a cluster has those of its node
    workflow.resource_settings.cores = sys.maxsize
    workflow.global_resources["_cores"] = sys.maxsize
    answer_for_sacct()


# how a workflow that uses this one as a module moves its files: `prefix:`, `replace_prefix:`; `pathvars:`
MOVES = workflow.modifier.path_modifier.replace_prefix
STARTED, WHERE = time.time(), Path(workflow.pathvars.apply(MOVES("<logs>"))).absolute()
OF_SLURM = Path(".snakemake/slurm_logs").absolute()


# how SLURM ends a job that takes more than it asked for, in the job's own words
ENDS = {
    "exceeded memory limit": "took more memory than it asked for",
    "oom_kill": "took more memory than it asked for",
    "oom-kill": "took more memory than it asked for",
    "DUE TO TIME LIMIT": "took longer than it asked for",
}


def show_errors():
    """Print the one line in which each failed job says what is wrong, or in which its cluster does."""
    for path in sorted(WHERE.rglob("*.log")):
        if path.stat().st_mtime >= STARTED:
            for line in path.read_text().splitlines():
                if line.startswith("neuroenc: "):
                    print(f"{line}  [{os.path.relpath(path)}]", file=sys.stderr)
    for path in sorted(OF_SLURM.rglob("*.log")):
        if path.stat().st_mtime >= STARTED:
            text = path.read_text(errors="replace")
            for what in {ends for words, ends in ENDS.items() if words in text}:
                print(
                    f"neuroenc: Job {path.stem} ({path.parent.name}) {what}. It is tried again with twice as "
                    f"much while there are retries.  [{os.path.relpath(path)}]",
                    file=sys.stderr,
                )


def note_time():
    """Leave beside the logs what Snakemake itself took, as `neuroenc results times` reads it."""
    used = f"{time.process_time():.1f} s"
    path = WHERE / config["label"] / "snakemake.log"
    if why := no_room(path):
        print(
            f"neuroenc: Cannot write {path}: {why}. What jobs had to say may be missing. Free space, and run "
            "the same command again.",
            file=sys.stderr,
        )
        return
    path.write_text(f"took {used} of processor time, {used} of it Snakemake itself\n")


# onerror: and onsuccess: are not taken over by those who use this as a module
if WHERE not in ONCE:
    ONCE[WHERE] = atexit.register(show_errors)
if RUNS and (WHERE, config["label"]) not in ONCE:
    ONCE[WHERE, config["label"]] = atexit.register(note_time)
os.environ.update(NEUROENC_TIMES="1")  # each job says what it took


def outside(path):
    """A file that is the user's own lies where the run starts, not where a module's files are moved to."""
    return path if MOVES(path) == path else os.path.abspath(path)


def section(*keys, without=()):
    """A part of the configuration as JSON, so that a job reruns when just that part changes.

    All rules say as `options` what of the configuration their commands hold. Snakemake keeps no parameter that
    is made from inputs and outputs, as the commands are.
    """
    found = config
    for key in keys:
        found = found.get(key) or {}
    return json.dumps({k: v for k, v in found.items() if k not in without})


def fitting(kind, name):
    """Options of a fit; a longer list of models refits nothing."""
    return section(kind, name, without=["models"])


def split_of_projection(wildcards):
    """PCA is fitted to training stimuli, so it waits for the split."""
    projection = config["models"][wildcards.model].get("projection") or ""
    return f"{RUN}/splits.nc" if projection.startswith("pca") else []


def given(model):
    """Files of features that were made elsewhere, and tables of texts."""
    texts = config["models"][model].get("texts")
    if texts:
        texts = os.path.expanduser(os.path.expandvars(texts))
        if not os.path.exists(texts):
            refuse(
                f"File not found: {texts}. Point models.{model}.texts at the table of texts."
            )
        return [outside(texts)]
    paths = config["models"][model].get("path") or {}
    places = [paths] if isinstance(paths, str) else list(paths.values())
    found = []
    for place in places:
        whole = os.path.expanduser(os.path.expandvars(place))
        path = whole if os.path.exists(whole) else whole.rpartition("#")[0] or whole
        if not os.path.exists(path):
            refuse(
                f"File not found: {path}. Point models.{model}.path at the features."
            )
        beside = os.path.splitext(path)[0] + ".json"
        found += [path, beside] if os.path.exists(beside) else [path]
    return [outside(path) for path in found]


def given_of_model(wildcards):
    """What reads files is made again when they change."""
    return given(wildcards.model)


def labels_of_atlas(wildcards):
    """Files of an atlas with their tables: parcels change with them. The job says which one is missing."""
    names = [config["dataset"].get(key) or "" for key in ("atlas", "atlas_labels")]
    stem = re.sub(r"\.nii(\.gz)?$", "", names[0])
    names += [stem + end for end in (".tsv", ".txt", ".json") if stem != names[0]]
    sides = ("lh", "L", "left", "rh", "R", "right")
    paths = {
        os.path.expanduser(os.path.expandvars(name))
        .replace("{subject}", wildcards.subject)
        .replace("{hemi}", side)
        for name in names
        for side in sides
    }
    return sorted(outside(path) for path in filter(os.path.isfile, paths))


def grown(amount):
    """What a job asks for, twice as much at each attempt: MB or minutes."""
    return lambda wildcards, attempt: amount * 2 ** (attempt - 1)


def memory(factor, base=1000, without=()):
    """Forecast of a job's memory in MB from the size of its inputs, `without` those whose heads alone are read.

    Twice as much at each attempt.
    """

    def forecast(wildcards, input, attempt=1):
        # a file that is still to be made raises FileNotFoundError, and Snakemake asks again later
        size = sum(map(os.path.getsize, input)) / 1e6
        size -= (
            sum(os.path.getsize(p) for k in without for p in getattr(input, k)) / 1e6
        )
        return int(base + factor * size) * 2 ** (attempt - 1)

    return forecast


def on_gpu(options, default="auto"):
    """1 where what has these options runs on a GPU if there is one. `--resources gpu=0` makes it 0 for all."""
    return int(options.get("device", default) != "cpu")


def runs_network(model):
    """Whether a model's features come from a network that is worth a GPU."""
    options = config["models"].get(model) or {}
    computed = options.get("extractor", "module") in EXTRACTORS_OF_NETWORKS
    return computed and options.get("network") != "nano" and bool(on_gpu(options))


def trains(options):
    """1 where an encoder or decoder is trained by gradient, or trains a prior, on a GPU if there is one."""
    prior = options.get("prior")
    if prior is not None and on_gpu(prior):
        return 1
    return on_gpu(options, "auto" if options["name"] in BY_GRADIENT else "cpu")


def memory_of_features(wildcards, input, attempt):
    """A network's weights and activations, or what reads pictures alone."""
    base = 4000 if runs_network(wildcards.model) else 1500
    return memory(1, base)(wildcards, input, attempt)


# as in neuroenc.features.extract.NETWORKS, and autoencoders
EXTRACTORS_OF_NETWORKS = (
    "open_clip",
    "open_clip_text",
    "timm",
    "torchvision",
    "transformers",
    "module",
    "vae",
)
# as in neuroenc.forecast.TRAINED, and decoders
BY_GRADIENT = (
    "attention",
    "probing",
    "semantic_transformer",
    "response_core",
    "network",
)
LAUNCHED = 500  # MB of Snakemake and srun in a job of a cluster, and of the libraries' own pages


def forecast(*stages, part="", wildcard=""):
    """Forecast of a job's memory in MB from the shapes in its inputs; of their size where neuroenc is not here."""

    def asked(wildcards, input, threads, attempt):
        try:
            from neuroenc.errors import InputError
            from neuroenc.forecast import megabytes
        except ImportError:
            return memory(10)(wildcards, input, attempt)
        options = config[part] if part else {}
        options = options[getattr(wildcards, wildcard)] if wildcard else options
        try:
            most = max(megabytes(stage, input, options, threads) for stage in stages)
        except InputError:  # the job says in one line what is wrong with its input
            return memory(10)(wildcards, input, attempt)
        return int(LAUNCHED + most) * 2 ** (attempt - 1)

    return asked


def command(*words, **options):
    """List the words of one command; an option given as a list comes as often as it has values.

    They are --name=value and reach the shell by :q, so quoted, and a value that begins with a dash is still a
    value.
    """
    flags = [
        f"--{name.replace('_', '-')}={value}"
        for name, values in options.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    return [*words, *flags]


def commands(*each):
    """Join commands that one process runs after one another, so that its libraries load once."""
    return [word for one in each for word in ["--then", *one]][1:]


def named(names, files):
    """List NAME=FILE."""
    return [f"{name}={path}" for name, path in zip(names, files)]


def stem(name):
    """The part of a file name that says encoder and model."""
    encoder, model = FITS.get(name, ("stack", "all"))
    return f"enc-{encoder}_feat-{model}"


def of_fits(ending, subject="{subject}"):
    """List one file of each fit, for a subject."""
    return [f"{RUN}/sub-{subject}/sub-{subject}_{stem(n)}_desc-{ending}" for n in NAMES]


def command_of_the_run():
    # of a workflow that uses this one as a module it may have none
    files = [f"--configfile={os.path.relpath(p)}" for p in workflow.configfiles[-1:]]
    return shlex.join(["snakemake", *files])
