"""Whether every layer of every known network, and of one network of each family, is stored as the network made it.

The truth does not look at neuroenc: hooks that clone what a module returns when a stimulus is shown alone. Which
axis holds the channels is what modules say that make or take the very tensor (convolutions and norms of maps:
first; linear layers and layer norms: last), carried on by modules that keep the shape of what they get, and to
tensors of the very same shape, where that is not square. How many tokens lead is what is left of them beside a square.

Usage: python benchmarks/layers.py [SECONDS] [NAME ...]; networks that have a row are left out. A row counts layers:
`right` (mean, all tokens, and grid, first or last token as the layer has them), `refused` in one line, `untold`
(the values are right, the truth says nothing about the axes or the leading tokens), `wrong`.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import open_clip
import torch

from neuroenc.config import Model
from neuroenc.errors import InputError
from neuroenc.features import layouts, registry, streams
from neuroenc.features.libraries import skeleton
from neuroenc.features.networks import Network
from neuroenc.features.source import first_tensor, layers_of

RESULTS = Path("benchmarks/results/layers.json")
FIRST = {"Conv1d", "Conv2d", "ConvTranspose2d", "LayerNorm2d", "LayerNormAct2d", "GroupNorm", "_BatchNorm",
         "_AvgPoolNd", "_MaxPoolNd", "_AdaptiveAvgPoolNd", "_AdaptiveMaxPoolNd", "Upsample"}  # fmt: skip
LAST = {"Linear", "LayerNorm", "Embedding", "RmsNorm", "RMSNorm", "Conv1D"}
MOST = 2**28  # bytes of raw outputs held at once
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 255, size, dtype=np.uint8) for size in ((96, 96, 3), (70, 150, 3))]
TEXTS = ["a red cat", "a blue cat and a red house"]
IDS = [[*range(3, 9)], [*range(20, 31)]]  # where no tokenizer is at hand
TWO = {"num_hidden_layers": 2}
SHALLOW = ("ViT-H-14", "ViT-bigG-14")  # as those below, by a configuration of the library's own
SMALLER = {  # large for one core at full depth, where blocks are alike
    "deepseek_vit_412m": {"depth": 2}, "gemma4_vit_167m": {"depth": 2}, "qwen3_vit_88m": {"depth": 2},
    "blip": {"vision_config": TWO, "text_config": TWO}, "visual_bert": TWO,
    "flava": {"image_config": TWO, "text_config": TWO, "multimodal_config": TWO},
}  # fmt: skip
SIDES = {"samvit_base_patch16": 256, "mobilenetv5_300m": 256}  # px, of those that are meant for 1024 and 768


def known() -> dict[str, Model]:
    """List the networks: those of the registry, one of each module of timm, one of each of torchvision."""
    import timm
    from torchvision import models

    found = {}
    for name, entry in registry.ENTRIES.items():
        if entry.extractor in ("timm", "torchvision", "open_clip", "open_clip_text", "transformers") and not (
            entry.sizes or streams.reads(entry.network)  # large, or shown films and sounds
        ):
            found[name] = Model(network=name, weights="random:0")
    sizes = (
        "atto",
        "femto",
        "pico",
        "nano",
        "xxt",
        "_t",
        "tiny",
        "xxs",
        "xs",
        "x_small",
        "small",
        "_s",
        "18",
        "26",
    )
    for module in timm.list_modules():
        names = timm.list_models(module=module)
        if names:
            rank = [next((i for i, size in enumerate(sizes) if size in n), len(sizes)) for n in names]
            name = min(zip(rank, map(len, names), names, strict=True))[2]
            found[f"timm {name}"] = Model(
                extractor="timm", network=name, weights="random:0", input_size=SIDES.get(name)
            )
    families: dict[str, list[tuple[int, str]]] = {}
    for name in models.list_models(models):
        size = next(iter(models.get_model_weights(name))).meta["num_params"]
        families.setdefault(models.get_model_builder(name).__module__, []).append((size, name))
    for family in families.values():
        name = min(family)[1]
        found[f"torchvision {name}"] = Model(extractor="torchvision", network=name, weights="random:0")
    return found


def shallow(folder: Path) -> None:
    """Tell open_clip that its largest networks have two blocks in each tower."""
    for name in SHALLOW:
        config = open_clip.get_model_config(name)
        towers = {tower: config[tower] | {"layers": 2} for tower in ("vision_cfg", "text_cfg")}
        (folder / f"{name}.json").write_text(json.dumps(config | towers))
    open_clip.add_model_config(folder)


def kinds(module) -> set[str]:
    return {c.__name__ for c in type(module).__mro__}


def axes(source, names, batch) -> dict[str, int]:
    """Tell the axis of the channels of each layer's output by what makes and takes the same tensor."""
    made, kept, said, links = {}, [], {}, []

    def say(tensor, module):
        if kinds(module) & FIRST:
            said.setdefault(id(tensor), set()).add(1)
        elif kinds(module) & LAST:
            said.setdefault(id(tensor), set()).add(tensor.ndim - 1)

    def note(name):
        def hook(module, args, kwargs, output):
            output = first_tensor(output)
            given = next((a for a in (*args, *kwargs.values()) if isinstance(a, torch.Tensor)), None)
            if output is None:
                return
            kept.extend((output, given))
            made[name] = output
            if output.ndim > 2:
                say(output, module)
            if given is not None and given.ndim > 2 and given.is_floating_point():
                say(given, module)
                if given.shape == output.shape and given.shape[1] != given.shape[-1]:
                    links.append((id(given), id(output)))

        return hook

    handles = [source.module.get_submodule(n).register_forward_hook(note(n), with_kwargs=True) for n in names]
    with torch.inference_mode():
        source.forward(batch)
    for handle in handles:
        handle.remove()
    for _ in range(len(links)):
        before = sum(map(len, said.values()))
        for a, b in links:
            both = said.get(a, set()) | said.get(b, set())
            if both:
                said[a], said[b] = set(both), set(both)
        if sum(map(len, said.values())) == before:
            break
    found, of_shape = {}, {}
    for tensor in made.values():
        of_shape.setdefault(tensor.shape, set()).update(said.get(id(tensor), ()))
    for name, tensor in made.items():
        own = said.get(id(tensor)) or (
            of_shape[tensor.shape] if tensor.shape[1:2] != tensor.shape[-1:] else ()
        )
        if tensor.ndim == 2:
            found[name] = 1
        elif len(own) == 1:
            (found[name],) = own
    return found


def beside_a_square(n: int) -> int | None:
    """Tell how many of n tokens lead: what is left beside a square, if that is little."""
    left = n - int(n**0.5) ** 2
    return left if n > 1 and left <= min(8, n // 4) else (0 if n == 1 else None)


class Truth:
    """What a layer gives for each stimulus alone."""

    def __init__(
        self, axis: int | None, raw: list[torch.Tensor], words: list[torch.Tensor], *, text_last: bool
    ):
        self.raw, self.axis = raw, axis
        self.known = axis is not None
        if not self.known:
            return
        moved = [r.movedim(axis, -1) for r in raw]
        self.maps = moved[0].ndim == 4
        self.tokens = [m.flatten(1, -2)[0] if m.ndim > 2 else m for m in moved]
        self.rows, self.of_text = [], False
        lengths, texts = [len(t) for t in self.tokens], [len(w) for w in words]
        if words and moved[0].ndim == 3:
            more = lengths[0] - texts[0]
            if texts[0] != texts[1]:  # beside the same picture
                self.of_text = lengths[0] != lengths[1]
            else:
                self.of_text = more == 0 or (text_last and more > 36)
        self.prefix = 0
        if self.of_text:
            for n, word in zip(lengths, words, strict=True):
                rest = torch.ones(n - len(word), dtype=bool)
                self.rows.append(torch.cat([rest, word] if text_last else [word, rest]))
        else:
            prefix = 0 if moved[0].ndim != 3 else beside_a_square(lengths[0])
            self.known, self.prefix = prefix is not None, prefix or 0
            self.rows = [torch.arange(n) >= (prefix or 0) for n in lengths]
            self.rows = [r if r.any() else ~r for r in self.rows]
        self.last = [int(w.nonzero().max()) for w in words] if self.of_text and not text_last else None

    def pooled(self, pooling: str):
        """Return what a pooling must give, None where the layer has no such thing."""
        if pooling == "mean":
            return [t[r].mean(0) for t, r in zip(self.tokens, self.rows, strict=True)]
        if pooling == "cls":
            return [t[0] for t in self.tokens] if self.prefix or self.of_text else None
        if pooling == "last":
            return [t[i] for t, i in zip(self.tokens, self.last, strict=True)] if self.last else None
        if self.of_text or self.raw[0].ndim == 2:
            return None
        cells = []
        for tokens, raw in zip(self.tokens, self.raw, strict=True):
            sides = raw.movedim(self.axis, -1).shape[1:3] if self.maps else (int(len(tokens) ** 0.5),) * 2
            if self.maps is False and sides[0] ** 2 + self.prefix != len(tokens):
                return None
            grid = tokens[self.prefix :].unflatten(0, tuple(sides))
            cuts = [[slice(0, -(-s // 2)), slice(s // 2, s)] if s > 1 else [slice(0, 1)] for s in sides]
            cells.append(torch.stack([grid[a, b].mean((0, 1)) for a in cuts[0] for b in cuts[1]]))
        return cells


def close(made, right) -> bool:
    return made.shape == right.shape and np.allclose(
        made, right, rtol=0, atol=1e-3 * max(np.nanmax(np.abs(right), initial=0), 1e-6), equal_nan=True
    )


def raw_outputs(network, layers, prepared) -> dict[str, torch.Tensor]:
    """Run a stimulus alone with hooks that clone."""
    ((_, batch),) = prepared
    raw: dict[str, torch.Tensor] = {}

    def keep(layer):
        return lambda _module, _inputs, output: raw.update({layer: first_tensor(output).clone().float()})

    handles = [network.module.get_submodule(n).register_forward_hook(keep(n)) for n in layers]
    with torch.inference_mode():
        network.source.forward(batch)
    for handle in handles:
        handle.remove()
    return raw


def compare(network, layers, axis, items, count, wrong) -> None:
    """Compare some layers with the truth, in all poolings."""
    everything = network.source.alike(items)
    if (
        network.reads == "image"
    ):  # of one shape: the same batch, since some untrained networks magnify rounding
        alone, batch = [everything], raw_outputs(network, layers, everything)
        raw = [{n: v[i : i + 1] for n, v in batch.items()} for i in range(len(items))]
    else:
        alone = [network.source.alike([item]) for item in items]
        raw = [raw_outputs(network, layers, one) for one in alone]
    words = [one[0][1]["attention_mask"][0].bool() for one in alone if "attention_mask" in one[0][1]]
    truths = {
        n: Truth(axis.get(n), [r[n] for r in raw], words, text_last=network.source.text_last) for n in layers
    }
    bad = set()

    def run(pooling, chosen, shown):
        """Return what is stored, as much of it as is not refused."""
        network.model = network.model.model_copy(update={"layers": chosen, "pooling": pooling})
        try:
            return network.run(shown) if chosen else {}
        except InputError:
            half = len(chosen) // 2
            return run(pooling, chosen[:half], shown) | run(pooling, chosen[half:], shown) if half else {}

    for layer, values in run("tokens", layers, alone[-1]).items():
        truth, own = truths[layer], raw[-1][layer].numpy()
        if truth.axis is None:
            same = np.array_equal(np.sort(values[-1], None), np.sort(own, None), equal_nan=True)
        else:
            same = close(values[-1], truth.tokens[-1].numpy())
        if not same:
            bad.add(layer)
    for pooling in ("mean", "cls", "last", "grid:2"):
        right = {n: t.pooled(pooling) for n, t in truths.items() if t.known}
        right = {n: r for n, r in right.items() if r is not None}
        if pooling == "grid:2" and "text" in network.reads:
            continue
        for layer, values in run(pooling, list(right), everything).items():
            if not all(close(v, r.numpy()) for v, r in zip(values, right[layer], strict=True)):
                bad.add(layer)
    for layer, truth in truths.items():
        count["wrong" if layer in bad else "right" if truth.known else "untold"] += 1
    wrong.extend(sorted(bad))


def check(model: Model) -> dict:
    """Check all layers of a network."""
    count, wrong, start = Counter(right=0, refused=0, untold=0, wrong=0), [], time.monotonic()
    asked = model
    model, entry = registry.resolve(asked)
    options = SMALLER.get(model.network, {})
    smaller = options or ({"layers": 2} if model.network in SHALLOW else {})
    if asked.input_size:
        smaller = {"input_size": asked.input_size}
    asked = asked.model_copy(update={"options": options})
    model = model.model_copy(update={"options": model.options | options})
    source = skeleton(model, entry)
    if source.reads != "image":  # masks of text are looked into
        source = skeleton(model, entry, numbers=True)
    names, device = layers_of(source), next(source.module.parameters()).device
    batch = source.prepare([source.example] * 2)
    shapes = layouts.shapes_of(source, names, {k: v.to(device) for k, v in batch.items()})
    names = [n for n in names if n in shapes]
    axis = axes(source, names, {k: v.to(device) for k, v in batch.items()})
    if source.reads == "image":
        runs = layouts.picture_runs(model, source, names)
    else:
        runs = layouts.text_runs(source, names, "cpu")
        if "+" in source.reads:
            runs.append(layouts.shown_run(source, names, "cpu"))
    told = {}
    for layer in names:
        try:
            told[layer] = layouts.tell(layer, source.module.get_submodule(layer), runs)
        except InputError:
            count["refused"] += 1
    for layer in [n for n, layout in told.items() if layout.prefix is None]:
        count["refused"] += 1  # by mean
        del told[layer]
    network = Network(asked.model_copy(update={"layers": [next(iter(told))]}))
    network.layouts = told
    texts = IDS if model.network == "gpt2" else TEXTS
    if network.reads == "regions+text":
        width = network.source.example[0][0].shape[1]
        seen = [(RNG.random((36, width), "f4"), RNG.random((36, 4), "f4")) for _ in texts]
        items = list(zip(seen, texts, strict=True))
    else:
        pairs = [(PICTURES[0], texts[0]), (PICTURES[0], texts[1]), (PICTURES[1], texts[0])]
        items = {"image": PICTURES, "text": texts, "image+text": pairs}[network.reads]
    pending, held = [], 0
    for layer in told:
        pending.append(layer)
        held += 4 * int(np.prod(shapes[layer]))
        if held > MOST or layer == list(told)[-1]:
            network.layouts = {n: told[n] for n in pending}
            compare(network, pending, axis, items, count, wrong)
            pending, held = [], 0
    return {"layers": len(names), **count, "which": wrong[:20], "smaller": smaller,
            "seconds": round(time.monotonic() - start)}  # fmt: skip


def main() -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1e9
    rows = json.loads(RESULTS.read_text())["rows"] if RESULTS.exists() else []
    there, start = {r["network"] for r in rows}, time.monotonic()
    models = known()
    heavy = ("clip-vitl", "clip-vith", "clip-vitbigg", "blip", "flava", "lxmert", "timm mobilenetv5")
    pending = [n for n in models if n not in there]
    for name in sys.argv[2:] or sorted(pending, key=lambda n: n.startswith(heavy)):
        if time.monotonic() - start > seconds:
            print("not reached:", name, flush=True)
            continue
        try:
            row = check(models[name])
        except Exception as error:  # noqa: BLE001  one network must not end the others
            row = {"fails": f"{type(error).__name__}: {str(error)[:200]}"}
            print("FAILS", name, row, flush=True)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"{time.monotonic() - start:6.0f} s {used} MiB", name, row, flush=True)
        rows = [r for r in rows if r["network"] != name] + [{"network": name, **row}]
        lines = ",\n".join(json.dumps(r) for r in rows)
        RESULTS.write_text(f'{{"rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as kept:  # open_clip reads its configurations again at times
        shallow(Path(kept))
        main()
