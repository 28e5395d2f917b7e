"""Frozen networks: any layers by name, in one pass, pooled.

What differs between libraries stands in `vision` and `language`: each builds a `Source`, a module with
what turns stimuli into its batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from neuroenc.config import Model
from neuroenc.devices import pick_device
from neuroenc.errors import InputError, NeuroencError, invalid, reason
from neuroenc.features import filling, layouts, own, pooling, preprocessing, registry
from neuroenc.features.items import HEARD_AND_SEEN
from neuroenc.features.layers import filled, together
from neuroenc.features.libraries import build, on_skeleton
from neuroenc.features.loading import load, weights_of
from neuroenc.features.source import Source, block, first_tensor, layers_of

if TYPE_CHECKING:
    import torch

    from neuroenc.features.source import Alike, Batch

TEXTS = 256  # in a batch, which is cut into passes by its tokens
TOKENS = 2**13  # in a pass, unless the memory says how many
PARTS = {"q": 0, "k": 1, "v": 2}  # thirds of a joint projection to queries, keys and values


class Network:
    """A network without gradients, in eval mode, with hooks on the layers asked for.

    Parameters
    ----------
    model : Model
        Section of the configuration: extractor, network, weights, layers, pooling.
    device : str
        Of torch; "auto" takes a GPU where there is one.

    Raises
    ------
    InputError
        Unknown network or layer, missing checkpoint, or one whose hash or tensors differ.
    """

    def __init__(self, model: Model, *, device: str = "cpu") -> None:
        import torch

        self.device = pick_device(device)
        self.model, entry = registry.resolve(model)
        self.weights, seed, path = weights_of(self.model, entry)
        if path is not None and path.is_file():
            self.model = preprocessing.tell(self.model, path, self.weights.rpartition(":")[2])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.source = build(self.model, path)
        self.module = self.source.module
        if path is not None and path.is_file():
            load(self.module, path, prefix=entry.prefix if entry else "")
        if self.model.extractor == "module":
            self.weights = own.weights_of(self.module)
        self.module = self.module.eval().requires_grad_(False).to(self.device)
        self.precision: torch.dtype = getattr(torch, self.model.precision)
        known = layers_of(self.source)
        self.places = {layer: self._place(layer, known) for layer in self.model.layers}
        if not self.model.layers:
            raise InputError(
                f"No layers named for {self.model.network!r}. Name some of its {len(known)}: "
                f"{', '.join(known[:3])}, … (`neuroenc features show` lists them)."
            )
        self.layouts = self._layouts(entry)
        self.most_tokens = TOKENS
        self.n_words = self.model.window or 0  # to which texts are filled up where tokens are kept
        self.pad = self._pad()
        if self.reads == "text" and self.model.pooling == "cls":
            self._check_first()
        if self.model.extractor == "module":
            own.check_alone(self, self.source, str(self.model.module))

    def _place(self, layer: str, known: list[str]) -> str:
        """Return the module whose output a layer is."""
        name = layer.partition(":")[0]
        if name in known:
            return name
        if not name.isdecimal() or self.model.extractor != "transformers":
            raise invalid("layer", layer, known)
        return block(self.source, int(name))

    def _pad(self) -> int | None:
        """Return the token that fills up texts; None where texts have to run by themselves.

        What fills up a text must not change what is kept of it: that is tried with two kinds of filling.
        """
        example = self.source.prepare([self.source.example]) if self.reads == "text" else {}
        if "input_ids" not in example or self.model.pooling == "tokens":
            return None
        pad = max(getattr(self.module.config.get_text_config(), "pad_token_id", None) or 0, 0)
        one, other = (
            self._run({k: v.to(self.device) for k, v in batch.items()}, seed=0)[0]
            for batch in filling.probes(example, pad)
        )
        return pad if all(np.array_equal(one[layer], other[layer]) for layer in one) else None

    def _check_first(self) -> None:
        """Refuse the first token of a network that reads from left to right: it knows of no other word."""
        batch = self.source.prepare([self.source.example] * 2)
        ids = batch["input_ids" if "input_ids" in batch else "text"]
        ids[1, 1:] = ids[1, 1:].flip(0)
        for layer, values in self._run({k: v.to(self.device) for k, v in batch.items()}, seed=0)[0].items():
            if np.array_equal(values[0], values[1]):
                raise InputError(
                    f"The first token of layer {layer!r} is the same whatever words follow: "
                    f"{self.model.network!r} reads from left to right. Pool by 'last' or 'mean'."
                )

    def _layouts(self, entry: registry.Entry | None) -> dict[str, layouts.Layout]:
        """Tell how each layer is read, before any stimulus is."""
        model = self.model
        names = list(dict.fromkeys(self.places.values()))
        own = {self.places.get(name, name): text for name, text in model.layout.items()}
        for name in own:
            if name not in names:
                raise invalid("layer of layout", name, names)
        if model.extractor == "module":
            runs = layouts.picture_runs(model, self.source, names)
        elif self.reads == "image":
            runs = on_skeleton(model, entry, lambda source: layouts.picture_runs(model, source, names))
        elif self.reads in HEARD_AND_SEEN:
            runs = on_skeleton(model, entry, lambda source: layouts.stream_runs(source, names))
        else:
            runs = layouts.text_runs(self.source, names, self.device)
            if "+" in self.reads:
                runs.append(layouts.shown_run(self.source, names, self.device))
        for name in names:
            if name not in runs[0].shapes:
                raise InputError(
                    f"Layer {name!r} gives nothing when {model.network!r} is shown "
                    f"{self.reads.replace('+', ' and ')}. Choose another."
                )
        told = {
            name: layouts.stated(own[name], name, runs)
            if name in own
            else layouts.tell(name, self.module.get_submodule(name), runs)
            for name in names
        }
        for layer, name in self.places.items():
            part = layer.partition(":")[2]
            if self.reads == "image" and len(runs[0].shapes[name]) == 3:
                self._check_places(layer, runs[0].shapes[name][1], told[name].prefix or 0)
            if not part:
                continue
            if part not in PARTS:
                raise invalid(f"part of layer {name}", part, PARTS)
            axis = told[name].channels
            self.module.float()  # to measure
            joint = runs[0].shapes[name][axis] % 3 == 0 and layouts.thirds(
                self.source, name, axis, self.device
            )
            self.module.to(self.precision)
            if not joint:
                raise InputError(
                    f"The channels of layer {name!r} are not queries, keys and values one after the other: "
                    f"{layer!r} cannot be taken. Take all of {name!r}."
                )
        return told

    def _check_places(self, layer: str, n_tokens: int, prefix: int) -> None:
        """Refuse to pool tokens of a picture that do not stand where that takes them to stand."""
        pooling = self.model.pooling
        if pooling.startswith("grid") and _rearranged(self.module):
            raise InputError(
                f"The tokens of layer {layer!r} do not stand in the order of the picture. Pool by 'mean'."
            )
        if not (prefix and pooling.startswith(("mean", "grid"))):
            return
        if not layouts.lead(self.source, n_tokens, prefix, self.device):
            raise InputError(
                f"{prefix} of the {n_tokens} tokens of layer {layer!r} stand for no place, and not all of "
                "them lead: 'mean' and 'grid' cannot tell them from the picture's. Pool by 'tokens' or 'cls'."
            )

    @property
    def reads(self) -> str:
        """What the network is shown: "image", "text", "image+text", "regions+text", "sound" or "clip"."""
        return self.source.reads

    @property
    def contract(self) -> dict[str, str]:
        """The part of the embedding contract the network settles."""
        made = {
            "model": f"{self.model.extractor}/{self.model.network}",
            "weights": self.weights,
            "pooling": self.model.pooling,
        } | self.source.contract
        if self.model.precision != "float32":
            made["preprocessing"] += f"; run in {self.model.precision}"
        return made

    def batch_size(self, memory_gb: float) -> int:
        """Stimuli per batch, whose activations, all kept, would fill `memory_gb`; texts are cut by tokens."""
        import torch

        total = 0

        def count(_module: Any, _inputs: Any, output: Any) -> None:
            nonlocal total
            total += output.nbytes if isinstance(output, torch.Tensor) else 0

        leaves = [m for m in self.module.modules() if not list(m.children())]
        handles = [m.register_forward_hook(count) for m in leaves]
        self([self.source.example])
        for handle in handles:
            handle.remove()
        if self.reads == "text" and isinstance(self.source.example, list):
            self.most_tokens = int(memory_gb * 1e9 * len(self.source.example) // max(total, 1))
            return TEXTS
        return int(np.clip(memory_gb * 1e9 // max(total, 1), 1, 256))

    def __call__(self, items: list[Any]) -> dict[str, NDArray[np.float32]]:
        """Run stimuli through.

        Parameters
        ----------
        items : list
            Of what the network reads: uint8 arrays (height, width, 3), texts, or pairs.

        Returns
        -------
        dict
            Layer name to float32 array, (n, n_features), or (n, n_tokens, n_channels) for
            poolings that keep tokens.
        """
        return self.run(self.source.alike(items))

    def run(self, prepared: Alike) -> dict[str, NDArray[np.float32]]:
        """Run stimuli that are prepared, those of one shape together."""
        if any(m.training for m in self.module.modules()):
            raise NeuroencError("The network left eval mode; a frozen network must not train.")
        if self.reads == "text" and all("input_ids" in batch for _, batch in prepared):
            prepared = filling.fill(prepared, most=self.most_tokens, pad=self.pad)
        made = []
        for _, batch in prepared:
            moved = {name: values.to(self.device, non_blocking=True) for name, values in batch.items()}
            values, drew = self._run(moved, seed=0)
            made.append(values)
            if drew:
                self._same(values, self._run(moved, seed=1)[0])
        order = np.argsort([row for rows, _ in prepared for row in rows])
        return {
            layer: together(self._alike([values[layer] for values in made], layer), layer)[order]
            for layer in self.model.layers
        }

    def _alike(self, parts: list[NDArray[np.float32]], layer: str) -> list[NDArray[np.float32]]:
        """Fill up what keeps the words of texts of different lengths."""
        kept = self.model.pooling == "tokens" and self.layouts[self.places[layer]].words
        return filled(parts, self.n_words) if kept else parts

    def make_room(self, texts: Callable[[], list[str]]) -> None:
        """Have texts filled up to the longest, where tokens are kept and no `window` says how many."""
        if self.reads == "text" and self.model.pooling == "tokens" and not self.model.window:
            made = self.source.alike(texts())
            self.n_words = max(batch["attention_mask"].shape[1] for _, batch in made)

    def _same(self, once: dict[str, NDArray[np.float32]], again: dict[str, NDArray[np.float32]]) -> None:
        """Refuse layers of a network that draws lots, where two draws differ."""
        for layer, values in once.items():
            scale = np.nanmax(np.abs(values), initial=0)
            if not np.allclose(values, again[layer], rtol=0, atol=1e-3 * scale, equal_nan=True):
                raise InputError(
                    f"Layer {layer!r} of {self.model.network!r} gives other values each time (pooling "
                    f"{self.model.pooling!r}): the network draws places at random. Choose another pooling, "
                    "layer or network."
                )

    def _run(self, batch: Batch, *, seed: int) -> tuple[dict[str, NDArray[np.float32]], bool]:
        """Run a batch; return also whether the network drew random numbers."""
        import torch

        n = len(next(iter(batch.values())))
        pictures = batch.get("image", batch.get("pixel_values"))
        aspect = 1.0 if pictures is None else pictures.shape[-2] / pictures.shape[-1]
        made: dict[str, NDArray[np.float32]] = {}

        def keep(name: str) -> Any:
            def hook(_module: Any, _inputs: Any, output: Any) -> None:
                values = first_tensor(output)
                if values is None or values.shape[:1] != (n,):
                    raise InputError(
                        f"Layer {name!r} gives no values for each of {n} stimuli. Choose another."
                    )
                values = values.float()  # means of half-precision numbers too
                for layer, place in self.places.items():
                    if place == name:
                        pooled = pooling.pool(
                            self._part(values, layer), self.model.pooling, self.layouts[name], layer=layer,
                            reads=self.reads, words=batch.get("own", batch.get("attention_mask")),
                            text_last=self.source.text_last, aspect=aspect,
                        )  # fmt: skip
                        # a copy: what follows may work in place
                        made[layer] = pooled.to("cpu", torch.float32, copy=True).numpy()

            return hook

        handles = [self.module.get_submodule(name).register_forward_hook(keep(name)) for name in self.layouts]
        gpu = [torch.cuda.current_device()] if self.device.startswith("cuda") else []
        try:
            with torch.random.fork_rng(devices=gpu), torch.inference_mode():
                torch.manual_seed(seed)
                before = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, gpu)]
                self._forward(batch)
                after = [torch.get_rng_state(), *map(torch.cuda.get_rng_state, gpu)]
        finally:
            for handle in handles:
                handle.remove()
        lacking = [layer for layer in self.model.layers if layer not in made]
        if lacking:
            raise InputError(
                f"Layer {lacking[0]!r} was not run on {self.device}. Choose the layer around it."
            )
        return made, not all(map(torch.equal, before, after))

    def _forward(self, batch: Batch) -> None:
        try:
            self.source.forward(batch)
        except InputError:  # of a layer
            raise
        except Exception as error:  # each library, and code of one's own, has errors of its own
            shapes = ", ".join(f"{k} {' x '.join(map(str, v.shape))}" for k, v in batch.items())
            raise NeuroencError(
                f"{self.model.network!r} fails on {shapes}: {type(error).__name__}: {reason(error)}. Choose "
                "another network, options, or stimuli that it takes."
            ) from error

    def _part(self, output: torch.Tensor, layer: str) -> torch.Tensor:
        """Take queries, keys or values where they are asked for."""
        part = layer.partition(":")[2]
        if not part:
            return output
        axis = self.layouts[self.places[layer]].channels
        return output.chunk(3, axis)[PARTS[part]]


def _rearranged(module: Any) -> bool:
    """Tell whether a network orders its tokens by nested windows (Hiera)."""
    return any(hasattr(m, "unroll") or hasattr(m, "unroll_schedule") for m in module.modules())


def describe_layers(model: Model) -> dict[str, tuple[str, str]]:
    """Show the layers of a network: class and shape of the output, without loading weights.

    Layers that take no part in the forward pass are left out.
    """

    def look(source: Source) -> dict[str, tuple[str, str]]:
        device = next(source.module.parameters()).device
        batch = source.prepare([source.example])
        if device.type == "meta":
            batch.pop("attention_mask", None)  # looked into, to see whether anything is padded
        names = layers_of(source)
        shapes = layouts.shapes_of(source, names, {k: v.to(device) for k, v in batch.items()})
        return {
            name: (type(source.module.get_submodule(name)).__name__, " x ".join(map(str, shapes[name][1:])))
            for name in names
            if name in shapes
        }

    shown: dict[str, tuple[str, str]] = on_skeleton(*registry.resolve(model), look)
    return shown


def embed_texts(texts: Sequence[str], model: Model) -> NDArray[np.float64]:
    """Embed texts by the text half of an image-text network of open_clip, (n, n_features)."""
    import torch

    twin = model.model_copy(
        update={"extractor": "open_clip_text", "layers": ["ln_final"], "pooling": "mean", "projection": None}
    )
    network = Network(twin)
    with torch.inference_mode():
        parts = [
            network.module.encode_text(network.source.prepare(list(texts[i : i + 256]))["text"])
            for i in range(0, len(texts), 256)
        ]
    return np.asarray(torch.cat(parts).float().numpy(), np.float64)
