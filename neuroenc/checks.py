"""What no run of a configuration could finish, said before it starts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from neuroenc.config import BLIND, Config, Model, ResponseCore, models_of
from neuroenc.config.encoders import SETS, TOKENS
from neuroenc.errors import InputError, invalid
from neuroenc.features import registry
from neuroenc.files import existing

PLACED = ("treebank", "custom")  # whose electrodes may have places in mm
TABLES = ("category", "caption")
UNSHOWN = (*TABLES, "mel", "motion_energy", "file", "open_clip_text")  # what is not made of pictures alone
CAPTIONERS = "open_clip/nano"  # whose embeddings the captioner and `synthesis` take
NO_TEST = (
    "v4", "haxby", "mtl", "n170", "bold5000", "pereira2018", "treebank", "majajhong2015", "freemanziemba2013",
)  # fmt: skip
TESTS_ALL = ("kfold", "group", "chronological", "cluster", "category")  # kinds of split
TEST_ALONE = ("nsd_synthetic", "nsd_imagery")
MOSAIC = {
    "NSD": 8, "BOLD5000": 4, "BMD": 10, "GOD": 5, "deeprecon": 3, "HAD": 30, "NOD": 30, "THINGS": 3,
}  # fmt: skip
NSD = tuple(f"{i:02d}" for i in range(1, 9))
SUBJECTS: dict[str, tuple[str, ...]] = {
    "nsd": NSD,
    "nsd_synthetic": NSD,
    "nsd_imagery": NSD,
    "mtl": ("all",),
    "tvsd": ("F", "N"),
    "things_eeg1": tuple(f"{i:02d}" for i in range(1, 51)),
    "laion_fmri": ("01", "03", "05", "06", "07"),
    "mosaic": tuple(f"{name}{i + 1:02d}" for name, n in MOSAIC.items() for i in range(n)),
    "n170": ("1",),
}
"""Of datasets whose recordings are all there are"""


def check(config: Config, *, libraries: bool = False) -> Config:
    """Return a configuration that can be run to the end, as far as can be told without data.

    Parameters
    ----------
    config : Config
    libraries : bool
        Also ask timm, torchvision and open_clip for networks and tags of theirs, and look into files of
        features and texts, which takes seconds.

    Raises
    ------
    InputError
        Naming the key, what it says, and what would work.
    """
    registry.check(config.models, libraries=libraries)
    for one in CHECKS:
        one(config)
    if libraries:
        _files(config)
        _weights(config)
    return config


def _dataset(config: Config) -> None:
    """Subjects the dataset has, test stimuli it names, surfaces it lies on."""
    name = config.dataset.name
    known: Iterable[str] = SUBJECTS.get(name, ())
    if name == "nsd" and config.dataset.root is None:
        known = config.simulate.subjects
    for subject in config.subjects:
        if known and subject not in known:
            raise invalid("subjects", subject, known)
    if config.split.kind == "dataset" and name in NO_TEST:
        raise InputError(
            f"Invalid value for 'split.kind': 'dataset'. The dataset {name!r} names no test stimuli. Use "
            "'stimulus' or 'group'."
        )
    if config.split.kind == "dataset" and name in TEST_ALONE:
        raise InputError(
            f"Invalid value for 'split.kind': 'dataset'. The dataset {name!r} is a test set of encoders "
            "fitted to nsd (docs/datasets.md). Use 'kfold' to fit one to it alone."
        )
    divided = config.split.kind, config.split.test_fraction, config.split.n_folds
    if config.evaluation.brainscore and divided != ("stimulus", 0.1, 10):
        raise InputError(
            "Invalid value for 'evaluation.brainscore': True. It is of ten random splits of 90 to 10, and "
            f"split says {divided[0]}, {divided[1]:g}, {divided[2]}. Set split to {{kind: stimulus, "
            "test_fraction: 0.1, n_folds: 10}."
        )
    if config.figures.surface and name != "nsd":
        raise InputError(
            f"Invalid value for 'figures.surface': True. Surfaces are drawn of nsd alone, not of {name!r}. "
            "Use figures.volume, or leave it out."
        )
    if config.figures.electrodes and name not in PLACED:
        raise InputError(
            f"Invalid value for 'figures.electrodes': True. The neuroids of {name!r} have no places in the "
            f"brain in mm, as those of {' and '.join(PLACED)} may have. Leave it out."
        )
    if config.figures.volume and config.dataset.average:
        raise InputError(
            "Invalid value for 'figures.volume': True. Averages by parcel have no voxels to draw. Leave it "
            "or dataset.average out."
        )


def _encoders(config: Config) -> None:
    """Networks that are known, and features on a grid for encoders that need one."""
    for key, model in config.models.items():
        found = resolved(model)  # a network that is named is known
        if found.view and found.extractor in BLIND:
            _refuse(
                f"models.{key}.view",
                key,
                f"reads no pictures ({found.extractor})",
                "one that does",
                "Leave it out",
            )
        if model.sha256 and found.extractor == "transformers":
            raise InputError(
                f"Invalid value for 'models.{key}.sha256': {model.sha256!r}. The weights of {key!r} are a "
                "folder, no file. Leave it out."
            )
    each = [(label, m) for label, fitted in config.fits().values() for m in models_of(fitted)]
    for label, name in each:
        encoder, model = config.encoders[label], resolved(config.models[name])
        if model.extractor == "file":
            continue
        flat = model.pooling in ("mean", "cls", "last", "own:mean", "own:last")
        if encoder.name in TOKENS and (flat or model.extractor in TABLES):
            made = f"pools by {model.pooling!r}" if flat and model.extractor not in TABLES else "is a table"
            raise InputError(
                f"Invalid value for 'encoders.{label}': {encoder.name!r} needs {_needs(encoder.name)}; "
                f"the model {name!r} {made}. Set models.{name}.pooling to 'grid:<k>' or 'tokens', or leave "
                f"{name!r} out of encoders.{label}.models."
            )
        if isinstance(encoder, ResponseCore):
            _halves(label, encoder, name, model)


def _halves(label: str, encoder: ResponseCore, name: str, model: Model) -> None:
    """Refuse a grid that the blocks of a core cannot halve."""
    side, parts = model.pooling.removeprefix("grid:"), 2 ** (encoder.n_blocks - 1)
    if side.isdigit() and int(side) % parts:
        raise InputError(
            f"Invalid value for 'encoders.{label}.n_blocks': {encoder.n_blocks}. They halve the side "
            f"{encoder.n_blocks - 1} times, expected a multiple of {parts}, found {side} in "
            f"models.{name}.pooling. Set 'grid:{max(1, round(int(side) / parts)) * parts}', or take fewer."
        )


def _needs(encoder: str) -> str:
    return "tokens" if encoder in SETS else "features on a grid of tokens"


def _texts(config: Config) -> None:
    """Tables of texts beside models that read text."""
    for key, model in config.models.items():
        if model.texts and not registry.reads_text(model):
            raise InputError(
                f"Invalid value for 'models.{key}.texts': {model.texts!r}. {model.network!r} reads no text. "
                "Leave it out, or choose a network that does."
            )


def _code(config: Config) -> None:
    """Code that the environment allows."""
    for model in config.models.values():
        if model.extractor == "module":
            from neuroenc.features.own import check_allowed

            check_allowed(model)


def _files(config: Config) -> None:
    """Files of features and texts, as far as they are here, that hold what is asked for; folders of pools."""
    from neuroenc.datasets.pool import pool_folder
    from neuroenc.features.given import chosen_layers, is_here
    from neuroenc.features.texts import check_table

    for folder in config.pools.values():
        pool_folder(folder)
    for label, decoder in config.embeddings.items():
        if decoder.augment and decoder.augment.pictures != "pool":
            pool_folder(decoder.augment.pictures, f"decoders.{label}.augment.pictures")
    for key, model in config.models.items():
        if model.texts:
            check_table(model.texts)
        if model.extractor != "file" or not is_here(model):  # perhaps where the job runs
            continue
        n_axes = {len(layer.shape) for layer in chosen_layers(model)}
        for label, encoder in config.encoders.items():
            reads = not encoder.models or key in encoder.models
            if reads and encoder.name in TOKENS and n_axes != {3}:
                raise InputError(
                    f"Invalid value for 'encoders.{label}': {encoder.name!r} needs "
                    f"{_needs(encoder.name)}; the files of {key!r} hold (stimuli, features). Give (stimuli, "
                    f"tokens, channels), or leave {key!r} out of encoders.{label}.models."
                )


def _weights(config: Config) -> None:
    """Weights of judges and of what draws, and tables of meshes, which are needed only after hours."""
    from neuroenc.features import checkpoints

    asked, objects = config.reconstruction, config.shapes
    judges = [("reconstruction.judges", name) for name in (asked.judges if asked else [])]
    if objects and objects.judge:
        judges.append(("shapes.judge", objects.judge))
    for key, name in judges:
        network, weights = config.models[name].network, config.models[name].weights
        entry = registry.ENTRIES.get(network or "")
        if entry and entry.published and not weights:
            try:
                here = registry.stored(entry)
            except InputError:
                here = None
            if here is None:
                raise InputError(
                    f"Invalid value for {key!r}: the weights of {name!r} ({network}) are not here. "
                    f"Run `neuroenc weights fetch {network}` where there is a network, or leave "
                    f"{name!r} out."
                )
    if asked and asked.generator != "nano":
        checkpoints.pipeline_folder(asked.generator)
    if objects and objects.generator == "shap_e" and not objects.weights:
        checkpoints.pipeline_folder("shap_e")
    if objects and objects.meshes:
        from neuroenc.datasets.shapes import true_meshes

        for path in true_meshes(objects.meshes).values():
            existing(path, made_by="The table of shapes.meshes names it.")


def _embeddings(config: Config) -> None:
    """Embeddings that captioner and generators take, and networks that can look at what is drawn."""
    for key, asked_for in (("captioners", config.captioners), ("captions", config.captions)):
        if asked_for and config.split.kind in TESTS_ALL:
            raise InputError(
                f"Invalid value for {key!r}: split.kind {config.split.kind!r} tests each stimulus in some "
                "fold, so that no captioned picture is left. Use 'dataset' or 'stimulus'."
            )
    if config.captions and config.captions.generate:
        said = config.captions
        layers = [said.layer] if said.layer else None
        _writes(config, "captions", "captions.generate", said.captioner, said.model, layers)
    if config.synthesis:
        _takes(config, "synthesis.model", config.synthesis.model, ["visual"], {"model": CAPTIONERS})
        _looks(config, "synthesis.judge", _only(config, "synthesis.judge", config.synthesis.judge))
    if config.reconstruction:
        from neuroenc.decoders.pipelines import TAKES, listing

        asked = config.reconstruction
        layers = config.embeddings[asked.decoder].layers or None
        takes = TAKES[asked.generator]
        _takes(
            config, "reconstruction.generator", asked.model, layers, takes, f". Of generators, {listing()}"
        )
        if asked.captions:
            _writes(config, "reconstruction", "reconstruction.captions", asked.captioner, asked.model, layers)
        if asked.low_level:
            small = config.embeddings[asked.low_level].models[0]
            if resolved(config.models[small]).extractor not in ("pixel", "vae"):
                raise InputError(
                    f"Invalid value for 'reconstruction.low_level': {asked.low_level!r} decodes {small!r}. "
                    "Expected a decoder of one model whose extractor is 'pixel' or 'vae'."
                )
            if config.models[small].projection:
                raise InputError(
                    f"Invalid value for 'reconstruction.low_level': {small!r} is projected, and no picture "
                    f"is made of it. Leave models.{small}.projection out."
                )
        for name in asked.judges:
            _looks(config, "reconstruction.judges", name)
        for fit in asked.closed_loop:
            _looks(config, "reconstruction.closed_loop", _only(config, "reconstruction.closed_loop", fit))
    if config.shapes and config.shapes.judge:
        _looks(config, "shapes.judge", config.shapes.judge)


def _export(config: Config) -> None:
    """Refuse to export encoders that cannot be called with pictures elsewhere."""
    if config.export is None:
        return
    fits = config.fits()
    members = [config.export] if config.export in fits else (config.stack and config.stack.members) or fits
    for name in members:
        label, _ = fits[name]
        _looks(config, "export", _only(config, "export", name), projected=True)
        if getattr(config.encoders[label], "delays", []):
            raise InputError(
                f"Invalid value for 'export': {config.export!r}. encoders.{label} looks back in time "
                "(`delays`), which single pictures have not. Choose another."
            )


def _writes(
    config: Config, part: str, key: str, captioner: str | None, name: str, layers: list[str] | None
) -> None:
    """Refuse embeddings that no captioner takes, and captioners of others."""
    model = resolved(config.models[name])
    network = f"{model.extractor}/{model.network}"
    if captioner is None:
        if network != CAPTIONERS:
            raise InputError(
                f"Invalid value for {key!r}: the captioner that comes along takes {CAPTIONERS!r}, the model "
                f"{name!r} is {network!r}. Name a captioner of its own: {part}.captioner, of `captioners` or "
                "a folder of `neuroenc captioner train`."
            )
        _takes(config, key, name, layers, {"model": CAPTIONERS})
        return
    kept = layers or model.layers
    given: dict[str, str | None] = (
        {"layer": ",".join(kept)} if kept else {}
    )  # layers left out are all, which the run alone knows
    if captioner in config.captioners:
        asked = config.captioners[captioner]
        other = [asked.layer] if asked.layer else resolved(config.models[asked.model]).layers
        given, wanted = given | {"model": name}, {"layer": ",".join(other), "model": asked.model}
    else:
        from neuroenc.decoders.captioner_folder import about

        wanted = about(captioner)["contract"]
        given |= {"model": network} if model.network else {}
        given |= {"weights": model.weights} if (model.weights or "").startswith("random:") else {}
    for what, found in given.items():
        if found != wanted[what]:
            raise InputError(
                f"Invalid value for '{part}.captioner': {captioner!r} takes embeddings whose {what} is "
                f"{wanted[what]!r}; of {name!r} it is {found!r}. Train one for these, or name its own."
            )


def _takes(
    config: Config, key: str, name: str, layers: list[str] | None, takes: Mapping[str, str], more: str = ""
) -> None:
    """Refuse embeddings of another network, layer or pooling, random weights or a projection."""
    model, wanted = resolved(config.models[name]), takes["model"]
    found, layer = f"{model.extractor}/{model.network}", takes.get("layer", "visual")
    if found != wanted:
        instead = f"Name a model of that network, or leave it out{more}"
        _refuse(key, name, f"is {found!r}", f"{wanted!r}", instead)
    if (model.weights or "").startswith("random:"):
        _refuse(key, name, f"has the weights {model.weights!r}", "trained ones", "Leave models.*.weights out")
    own = {e.published for e in registry.ENTRIES.values() if f"{e.extractor}/{e.network}" == wanted}
    if model.tag and model.tag not in own:  # of one shape, and of another space
        _refuse(key, name, f"has the weights {model.tag!r}", " or ".join(map(repr, sorted(own))),
                f"Use those, or leave it out{more}")  # fmt: skip
    if model.projection:
        _refuse(key, name, f"is projected ({model.projection!r})", "no projection", "Leave it out")
    if model.view:
        _refuse(key, name, f"sees a {model.view} picture", "the plain one", "Leave models.*.view out")
    if "pooling" in takes and model.input_size:  # which gives another number of tokens
        _refuse(key, name, f"sees pictures of {model.input_size} px", "the network's own size",
                f"Leave models.{name}.input_size out")  # fmt: skip
    kept = layers or model.layers
    if kept and (kept != [layer] or layer not in model.layers):
        _refuse(
            key, name, f"gives the layers {', '.join(map(repr, kept))}", f"{layer!r} alone",
            f"Set models.{name}.layers to [{layer}], or choose that layer{more}",
        )  # fmt: skip
    pooling = takes.get("pooling", model.pooling)
    if model.pooling != pooling:
        _refuse(
            key, name, f"is pooled by {model.pooling!r}", f"{pooling!r}",
            f"Set models.{name}.pooling{more}",
        )  # fmt: skip


def _only(config: Config, key: str, fit: str) -> str:
    """Return the model of a fit; refuse one to several where one network looks at pictures."""
    fitted = config.fits()[fit][1]
    if len(names := models_of(fitted)) > 1:
        raise InputError(
            f"Invalid value for {key!r}: the encoder {fit!r} reads {len(names)} models side by side, "
            f"expected one that reads a single model. Choose that of {' or '.join(map(repr, names))}, or "
            "leave it out."
        )
    return fitted


def _looks(config: Config, key: str, name: str, *, projected: bool = False) -> None:
    """Refuse models that cannot be shown new pictures."""
    model = resolved(config.models[name])
    if model.projection and not projected:
        _refuse(key, name, f"is projected ({model.projection!r})", "no projection", "Choose another model")
    if model.texts:
        _refuse(key, name, f"reads `texts` of a table ({model.texts!r})", "one that is shown pictures",
                "Choose another model")  # fmt: skip
    if model.extractor in UNSHOWN:
        _refuse(key, name, f"reads no pictures ({model.extractor})", "one that does", "Choose another model")


def _refuse(key: str, name: str, found: str, expected: str, instead: str) -> None:
    raise InputError(
        f"Invalid value for {key!r}: the model {name!r} {found}, expected {expected}. {instead}."
    )


def resolved(model: Model) -> Model:
    """Complete a model by the registry of networks."""
    from neuroenc.features.registry import resolve

    return resolve(model)[0]


CHECKS: tuple[Callable[[Config], None], ...] = (_dataset, _encoders, _texts, _code, _embeddings, _export)
