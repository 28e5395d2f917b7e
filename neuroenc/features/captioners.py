"""Texts of pictures by a network that writes them: BLIP-2 and Florence-2 of transformers.

Li et al. 2023, "BLIP-2", ICML; Xiao et al. 2024, "Florence-2", CVPR. Each word is the likeliest one (greedy
decoding), so that a text depends on picture, network and prompt alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from neuroenc.config import Model
from neuroenc.datasets.pixels import read_pixels
from neuroenc.devices import pick_device
from neuroenc.documents import read_json
from neuroenc.errors import InputError, InputWarning, invalid, reason
from neuroenc.features import common, language, registry
from neuroenc.features.extract import fingerprint
from neuroenc.features.loading import folder_of
from neuroenc.features.texts import COLUMNS
from neuroenc.features.writing import unfinished
from neuroenc.files import atomic, remove, sha256, write_json

CLASSES = {"blip-2": "Blip2ForConditionalGeneration", "florence2": "Florence2ForConditionalGeneration"}
TASKS = ("<MORE_DETAILED_CAPTION>", "<DETAILED_CAPTION>", "<CAPTION>")
"""What Florence-2 can be asked for that is a text about the whole picture; the first, unless told"""
TABLE = "table"  # in the JSON beside the texts: their SHA-256


class Captioner:
    """A network that writes a text about each picture.

    Parameters
    ----------
    network : str
        A name of `registry.CAPTIONERS`, OWNER/NAME of a fetched network of the hub, or a folder.
    prompt : str, optional
        BLIP-2: how the text begins, or a question; Florence-2: one of `TASKS`.
    max_tokens : int
        No text is longer.
    precision : str
        float32, bfloat16 or float16.
    device : str

    Attributes
    ----------
    made : dict
        Network, weights, prompt, decoding and precision.

    Raises
    ------
    InputError
        The network is unknown, was not fetched, does not fit its weights, or writes no text; it knows no such
        prompt.
    """

    def __init__(
        self, network: str, prompt: str | None = None, *, max_tokens: int = 256,
        precision: str = "float32", device: str = "auto",
    ) -> None:  # fmt: skip
        import torch

        self.device, self.max_tokens = pick_device(device), max_tokens
        self.precision: torch.dtype = getattr(torch, precision)
        folder, weights = _folder(network)
        config = language.configuration(Model(extractor="transformers", network=str(folder)), folder, {})
        self.kind = config.model_type
        if self.kind not in CLASSES:
            raise _no_writer(network, f"is a network of {self.kind}, which writes no text of pictures here")
        if self.kind == "florence2":
            prompt = TASKS[0] if prompt is None else prompt
            if prompt not in TASKS:
                raise invalid("prompt", prompt, TASKS)
        self.prompt = prompt or ""
        transformers = common.library()
        self.module = language.trained(getattr(transformers, CLASSES[self.kind]), folder, config, ())
        self.module.eval().to(self.device, self.precision)
        self.processor = _processor(folder)
        self.made = {
            "network": f"{self.kind}/{network}", "weights": weights, "prompt": self.prompt,
            "decoding": f"greedy, at most {max_tokens} tokens", "precision": precision,
        }  # fmt: skip

    def __call__(self, pictures: Sequence[NDArray[np.uint8]]) -> tuple[list[str], int]:
        """Write a text about each picture.

        Parameters
        ----------
        pictures : sequence of uint8 arrays of shape (height, width, 3)

        Returns
        -------
        texts : list of str
        n_cut : int
            How many of them are as long as `max_tokens`, and may lack their end.
        """
        import torch

        shown, begun = self._shown(pictures)
        with torch.inference_mode():
            made = self.module.generate(**shown, do_sample=False, num_beams=1, max_new_tokens=self.max_tokens)
        ids = made[:, begun:]
        own = self.module.language_model if self.kind == "blip-2" else self.module
        ends = torch.tensor(own.generation_config.eos_token_id, device=ids.device)
        # one that is cut may be made to end by its last token
        cut = ~torch.isin(ids[:, : self.max_tokens - 1], ends).any(1) & (ids.shape[1] == self.max_tokens)
        texts = self.processor.tokenizer.batch_decode(ids, skip_special_tokens=True)
        return [" ".join(t.split()) for t in texts], int(cut.sum())

    def _shown(self, pictures: Sequence[NDArray[np.uint8]]) -> tuple[dict[str, Any], int]:
        """Prepare pictures and prompt; say how many of the tokens that come back are not new."""
        import torch

        images = [Image.fromarray(p) for p in pictures]
        try:
            if self.kind == "florence2":
                made = self.processor(images=images, text=[self.prompt] * len(images), return_tensors="pt")
            else:
                made = self.processor.image_processor(images=images, return_tensors="pt")
        except Exception as error:  # noqa: BLE001  each processor has errors of its own
            raise InputError(
                f"{type(self.processor).__name__} does not take one of the pictures: {reason(error)}. Leave "
                "it out, or crop it."
            ) from None
        shown = {k: v.to(self.device) for k, v in made.items()}
        shown["pixel_values"] = shown["pixel_values"].to(self.precision)
        if self.kind == "florence2":
            return shown, 1  # what decoding starts from
        config = self.module.config
        words = self.processor.tokenizer(self.prompt)["input_ids"] if self.prompt else []
        begin = [config.image_token_id] * config.num_query_tokens
        begin += words or [config.text_config.bos_token_id]
        shown["input_ids"] = torch.tensor([begin] * len(images), device=self.device)
        # a decoder alone gives back all it was given
        return shown, 1 if config.text_config.is_encoder_decoder else len(begin)


def _folder(network: str) -> tuple[Path, str]:
    """Find the folder of a network, and say what its weights are."""
    if network in registry.ENTRIES:
        raise _no_writer(network, "writes no text")
    entry = registry.CAPTIONERS.get(network)
    name = entry.published if entry else network
    if not (registry.REPOSITORY.fullmatch(name) or Path(name).is_dir()):
        raise invalid("network", network, registry.CAPTIONERS)
    folder = folder_of(Model(extractor="transformers", network=name), None)
    files = sorted(folder.glob("*.safetensors")) if folder else []
    if folder is None or not files:
        raise InputError(f"There are no weights (*.safetensors) of {network!r} in {folder}. Fetch them.")
    return folder, ", ".join(f"{f.name}:{sha256(f)}" for f in files)


def _no_writer(network: str, why: str) -> InputError:
    names = ", ".join(map(repr, registry.CAPTIONERS))
    return InputError(f"{network!r} {why}. Expected {names}, or another BLIP-2 or Florence-2 of the hub.")


def _processor(folder: Path) -> Any:
    try:
        return common.library().AutoProcessor.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001  each processor has errors of its own
        raise InputError(
            f"Cannot read the processor in {folder}: {reason(error)}. Fetch the network again."
        ) from None


def describe(
    stimuli: xr.Dataset, network: str, out: str | Path, *, prompt: str | None = None, max_tokens: int = 256,
    batch_size: int = 8, precision: str = "float32", device: str = "auto",
) -> None:  # fmt: skip
    """Write a text about the picture of each stimulus, as the option `texts` of a model reads them.

    Of a film the frame in the middle of the stimulus is described. A run that is killed leaves its finished
    batches in a folder beside `out`, and the same command goes on from there.

    Parameters
    ----------
    stimuli : Dataset
        StimulusSet.
    network, prompt, max_tokens, precision, device
        As `Captioner` takes them.
    out : path
        .csv with the columns `stimulus_id` and `text`, written whole or not at all; a JSON beside it says
        what made it. Where it is there already, of the same stimuli, network and options, it is kept.
    batch_size : int
        Pictures at a time.

    Raises
    ------
    InputError
        As `Captioner`; stimuli without pictures; `out` is another file, or was changed.
    """
    out = Path(out)
    if out.suffix.lower() != ".csv":
        raise InputError(f"Invalid value for '--out': {str(out)!r}. Expected the name of a .csv file.")
    read_pixels(stimuli, np.arange(1))  # before the network is
    captioner = Captioner(network, prompt, max_tokens=max_tokens, precision=precision, device=device)
    ids = stimuli["stimulus_id"].values.astype(str)
    made = captioner.made | {"stimuli": fingerprint(stimuli)}
    if _kept(out, made):
        return
    batches = [np.arange(i, min(i + batch_size, len(ids))) for i in range(0, len(ids), batch_size)]
    begun = set(out.parent.glob(f".blocks-{escape(out.name)}-*"))
    with unfinished(out, json.dumps([made, batch_size]), alone=True) as folder:
        if begun - {folder}:
            _say(f"What was begun of {out} was of other stimuli or options: all texts are written anew.")
        texts: list[str] = []
        n_cut = 0
        for rows in tqdm(batches, f"texts by {network}", disable=None):
            block = folder / f"{rows[0]:07d}"
            if not block.exists():
                said, cut = captioner(read_pixels(stimuli, rows))
                write_json({"texts": said, "cut": cut}, block)
            found = read_json(block, "texts", "cut")
            texts += found["texts"]
            n_cut += found["cut"]
        _publish(out, ids, texts, made)
        remove(folder)
    if n_cut:
        _say(f"{n_cut} of {len(ids)} texts are as long as --max-tokens {max_tokens} and may lack their end.")
    if empty := [i for i, t in zip(ids.tolist(), texts, strict=True) if not t]:
        _say(f"{len(empty)} of {len(ids)} texts are empty, first that of {empty[0]!r}. Write them by hand.")


def _kept(out: Path, made: dict[str, str]) -> bool:
    """Tell whether the texts are there, made in the same way.

    Raises
    ------
    InputError
        The file is another, or was changed.
    """
    if not out.exists():
        return False
    beside = out.with_suffix(".json")
    said = read_json(beside, TABLE) if beside.exists() else {}
    if said.get(TABLE) != sha256(out):
        raise InputError(f"{out} is there and is not as `features describe` wrote it. Name another file.")
    other = [key for key, value in made.items() if said.get(key) != value]
    if other:
        _say(f"{out} is of another {' and '.join(other)}: all texts are written anew.")
    else:
        _say(f"{out} is there, of the same stimuli, network and options: nothing is to be done.")
    return not other


def _publish(out: Path, ids: NDArray[np.str_], texts: list[str], made: dict[str, str]) -> None:
    table = io.StringIO(newline="")
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *zip(ids.tolist(), texts, strict=True)])
    data = table.getvalue().encode()
    # first what tells the table from one that a person wrote
    write_json(
        {**made, "n_stimuli": len(ids), TABLE: hashlib.sha256(data).hexdigest()}, out.with_suffix(".json")
    )
    with atomic(out) as partial:
        partial.write_bytes(data)


def _say(text: str) -> None:
    warnings.warn(text, InputWarning, stacklevel=3)
