# what the configuration of a dataset asks for: names and paths that its rules share
if isinstance(regions := config["dataset"].get("regions"), dict):
    config["dataset"].update(regions, regions=[])
SUBJECTS = config["subjects"]
COMPARISONS = config.get("comparisons") or {}
# whose patterns over neuroids are compared too
PATTERNS = COMPARISONS if config.get("evaluation", {}).get("pairs") else {}
MODELS = list(config["models"])
config.setdefault("encoders", {"ridge": {}})
for label, options in config["encoders"].items():
    options.setdefault("name", label)


def read_by(options):
    """List what an encoder is fitted to: models, and several side by side as A+B."""
    chosen = options.get("models") or MODELS
    return [m for m in MODELS if m in chosen] + [
        "+".join(m) for m in chosen if isinstance(m, list)
    ]


# what is fitted, name -> (encoder, model): as in neuroenc.config.Config.fits
FITS = {
    model if label == next(iter(config["encoders"])) else f"{model}-{label}": (
        label,
        model,
    )
    for label, options in config["encoders"].items()
    for model in read_by(options)
}
# fitted to all subjects at once, and the others, as a pattern of file names
JOINT, ALONE = (
    "|".join(
        re.escape(label)
        for label, options in config["encoders"].items()
        if bool(options.get("joint")) == joint
    )
    or "(?!)"
    for joint in (True, False)
)
STACK = (
    (config["stack"] or {}).get("members") or list(FITS) if "stack" in config else []
)
ATTENTION = [
    n
    for n, (encoder, _) in FITS.items()
    if config["encoders"][encoder]["name"] in ("attention", "probing")
]
EXPORT = config.get("export")
EXPORTED = ([EXPORT] if EXPORT in FITS else STACK) if EXPORT else []  # its members
NAMES = list(FITS) + (["stack"] if STACK else [])
# what encoders read
FITTED = list(dict.fromkeys(m for _, model in FITS.values() for m in model.split("+")))
CAPTIONS = config.get("captions") or {}
DECODERS = config.get("decoders", {})
for label, options in DECODERS.items():
    options.setdefault("name", label)
CLASSIFIERS = [k for k, v in DECODERS.items() if v["name"] == "classifier"]
# one network of several subjects: label -> who
TOGETHER = {
    k: SUBJECTS if v["subjects"] == "all" else v["subjects"]
    for k, v in DECODERS.items()
    if v.get("subjects")
}
# beside decoders each encoder retrieves too, by the likelihood of the response
MATCHED = NAMES if len(DECODERS) > len(CLASSIFIERS) else []
DECODED = [
    f"dec-{label}_feat-{model}"
    for label, options in DECODERS.items()
    for model in MODELS
    if label not in CLASSIFIERS
    and (not options.get("models") or model in options["models"])
] + [stem(n) for n in MATCHED]
TRANSFER = config.get("transfer") or {}
# who is decoded by what
RETRIEVED = [
    (s, d)
    for s in SUBJECTS
    for d in DECODED
    if s in TOGETHER.get(d.removeprefix("dec-").partition("_")[0], SUBJECTS)
]
# in whose features stimuli are near or far
SPACE = [config["split"]["features"]] if config.get("split", {}).get("features") else []
# fits to fewer training stimuli
CURVE = config.get("learning_curve") or {}
PARTS = CURVE.get("sizes", [])
CURVES = (CURVE.get("fits") or list(FITS)) if CURVE else []
# whose layers are held against regions
ALIKE = (
    (config["similarity"] or {}).get("models") or MODELS
    if "similarity" in config
    else []
)
# pictures that nobody was shown, and the decoders that look for them
POOLS = {
    k: outside(os.path.expanduser(os.path.expandvars(v)))
    for k, v in (config.get("pools") or {}).items()
}
for pool, folder in POOLS.items():
    if not os.path.isdir(folder):
        refuse(
            f"Folder not found: {folder}. Point pools.{pool} at a folder of pictures."
        )
# decoders for which pairs are made of pictures of a folder: label -> folder, models
OF_FOLDER = {}
for label, options in DECODERS.items():
    augment = options.get("augment") or {}
    if augment.get("pictures", "pool") == "pool":
        continue
    folder = outside(os.path.expanduser(os.path.expandvars(augment["pictures"])))
    if not os.path.isdir(folder):
        refuse(
            f"Folder not found: {folder}. Point decoders.{label}.augment.pictures at a folder of pictures."
        )
    read = [*(options.get("models") or MODELS), FITS[augment["fit"]][1]]
    OF_FOLDER[label] = folder, list(dict.fromkeys(read))
LOOKING = [d for d in DECODED if POOLS and d.startswith("dec-")]
POOLED = list(dict.fromkeys(d.split("_feat-")[1] for d in LOOKING))
CONTRIBUTIONS = config.get("contributions")  # may be empty
CONTRIBUTING = [
    d
    for d in DECODED
    if CONTRIBUTIONS is not None
    and d.startswith("dec-")
    and (
        not CONTRIBUTIONS.get("decoders")
        or d.split("_")[0].removeprefix("dec-") in CONTRIBUTIONS["decoders"]
    )
]
# into which models the explained variance is split
PARTITION = config.get("partition") or {}
SYNTHESIS = config.get("synthesis") or {}
JUDGE_OF_SYNTHESIS = SYNTHESIS and section("models", FITS[SYNTHESIS["judge"]][1])
DRAWN = config.get("reconstruction") or {}
DRAWN_FROM = START = None
if DRAWN:
    DRAWN_FROM = f"dec-{DRAWN['decoder']}_feat-{DRAWN['model']}"
    # other judges redraw nothing
    DRAWING = section(
        "reconstruction", without=["judges", "closed_loop", "captions", "captioner"]
    )
    # the network that was decoded looks at what is drawn
    PRIOR = DECODERS[DRAWN["decoder"]].get("prior") is not None
    LOOKS_AT = PRIOR or DRAWN.get("n_draws", 1) > 1
    EYE = [section("models", DRAWN["model"])] if LOOKS_AT else []
    # a diffusion model of natural pictures asks for a GPU and its memory
    LARGE = DRAWN.get("generator", "nano") != "nano"
    JUDGED_BY_NETWORKS = any(map(runs_network, DRAWN.get("judges", [])))
    START = DRAWN.get("low_level")
    START_MODEL = START and DECODERS[START]["models"][0]
    START_FROM = START and f"dec-{START}_feat-{START_MODEL}"
# objects in three dimensions, and whose embeddings or pictures they are made from
OBJECTS = config.get("shapes") or {}
BY_SHAP_E = OBJECTS.get("generator") == "shap_e"
if OBJECTS:
    OBJECTS_FROM = DRAWN_FROM
    if not BY_SHAP_E:
        of = {k: OBJECTS.get(k) or DRAWN.get(k) for k in ("decoder", "model")}
        OBJECTS_FROM = f"dec-{of['decoder']}_feat-{of['model']}"
    MESHES = os.path.expanduser(os.path.expandvars(OBJECTS.get("meshes") or ""))
    MESHES = MESHES and outside(MESHES)
    if MESHES and not os.path.isfile(MESHES):
        refuse(
            f"File not found: {MESHES}. Point shapes.meshes at the table of true meshes."
        )
RUN = f"<results>/{config['label']}"
CAPTIONERS = config.get("captioners") or {}


def writer(key, wanted):
    """The folder of what writes captions: trained by this run, or by another."""
    name = (config.get(key) or {}).get("captioner") if wanted else None
    if not name:
        return []
    if name in CAPTIONERS:
        return [f"{RUN}/captioner-{name}"]
    path = os.path.expanduser(os.path.expandvars(name))
    if not os.path.isdir(path):
        refuse(
            f"File not found: {path}. Point {key}.captioner at the folder of a captioner."
        )
    return [outside(path)]


SUB = f"{RUN}/sub-{{subject}}/sub-{{subject}}"
LOGS = f"<logs>/{config['label']}"
BENCHMARKS = f"{LOGS}/benchmarks"
SURFACE = config.get("figures", {}).get("surface", False)
VOLUME = config.get("figures", {}).get("volume", False)
TIMES = config.get("figures", {}).get("time_course", False)
ELECTRODES = config.get("figures", {}).get("electrodes", False)
ROOT = config["dataset"].get("root")
ATLAS = config["dataset"].get("atlas")
# a program may fetch these; of the others neuroenc says where a person finds them
FETCHED_DATASETS = (
    "nsd",
    "nsd_synthetic",
    "nsd_imagery",
    "haxby",
    "stories",
    "things_meg",
    "things_eeg1",
    "laion_fmri",
    "mosaic",
    "treebank",
)
SIMULATED = config["dataset"]["name"] == "nsd" and not ROOT
DATASET_ROOT = (
    f"<resources>/{config['label']}/nsd"
    if SIMULATED
    else outside(os.path.expanduser(os.path.expandvars(ROOT or "")))
)
# a folder of recordings is not looked into: that its time changes says nothing
RECORDINGS = DATASET_ROOT if SIMULATED else ancient(DATASET_ROOT)
FETCHABLE = ROOT and config["dataset"]["name"] in FETCHED_DATASETS
# of a job that Snakemake starts for itself: download:
DOWNLOADING = workflow.modifier.modify_rulename("download") in {
    a.partition(":")[0] for a in sys.argv
}
if (
    not SIMULATED
    and not os.path.exists(DATASET_ROOT)
    and not (FETCHABLE and DOWNLOADING)
):
    refuse(
        f"File not found: {DATASET_ROOT or 'null'}. Point dataset.root at the recordings."
    )
CHECKPOINTS = [
    outside(os.path.expandvars(m["weights"]))
    for m in config["models"].values()
    if m.get("weights") and not m["weights"].startswith("random:")
]

for model in MODELS:
    given(model)  # refuses what is not there

# known by name, without weights of one's own
FETCHED = sorted(
    {
        m["network"]
        for m in config["models"].values()
        if not m.get("extractor") and not m.get("weights")
    }
    | {
        m["network"]
        for m in config["models"].values()
        if m.get("extractor") == "vae" and os.sep not in m["network"]
    }
    | ({DRAWN["generator"]} if DRAWN.get("generator", "nano") != "nano" else set())
    | ({"shap_e"} if BY_SHAP_E and not OBJECTS.get("weights") else set())
)


# what names may hold: neuroenc.config says so, through the schema
with open(workflow.source_path("../schemas/config.schema.json")) as file:
    SCHEMA = json.load(file)
NAME = SCHEMA["properties"]["subjects"]["items"]["pattern"].strip("^$")
REGION = SCHEMA["$defs"]["Synthesis"]["properties"]["regions"]["items"]["pattern"]


wildcard_constraints:
    subject=NAME,
    model=NAME,
    encoder=NAME,
    decoder=NAME,
    captioner=NAME,
    region=REGION.strip("^$"),
