"""Which axis of a layer's output holds the channels, and how many tokens lead: measured, not guessed.

A network is run without numbers on pictures of its own size, twice as high and twice as wide (or on texts of
two lengths). An axis that follows the picture is space, one that follows neither is channels; what does not
grow with the picture are class and register tokens.
"""

from __future__ import annotations

import math
from inspect import signature
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from neuroenc.config import Model
from neuroenc.errors import InputError, reason
from neuroenc.features.source import first_tensor

if TYPE_CHECKING:
    import torch

    from neuroenc.features.source import Source

    Batch = dict[str, torch.Tensor]
    Shapes = dict[str, tuple[int, ...]]

WORDS = ("text", "input_ids", "attention_mask", "own")
WIDTHS = ("out_features", "out_channels", "num_features", "normalized_shape", "embedding_dim")


class Layout(NamedTuple):
    """How the output of a layer is read."""

    channels: int
    """Axis of the channels"""
    prefix: int | None = 0
    """Tokens that lead and stand for no place; None: it can't be told"""
    words: bool = False
    """Whether the tokens grow with the text"""


class Run(NamedTuple):
    """Shapes of all layers for some batch."""

    n: int
    area: float
    """Of the picture, or number of regions, in usual ones"""
    shapes: Shapes
    length: int = 0
    """Of the text, tokens"""


def stated(text: str, layer: str, runs: list[Run]) -> Layout:
    """Read an entry of `Model.layout`; whether a layer holds words is measured all the same."""
    kind, _, prefix = text.partition(":")
    _, shapes = _shapes(layer, runs)
    words = bool(_words(layer, runs))
    if words and len(shapes[0]) != 3:
        raise _parts(layer, shapes[0], runs[0].n, "it holds pairs of words")
    return Layout(1 if kind == "channels_first" else -1, int(prefix or 0), words)


def _shapes(layer: str, runs: list[Run]) -> tuple[list[Run], list[tuple[int, ...]]]:
    """Return the runs in which a layer has outputs alike, and their shapes."""
    runs = runs if all(layer in r.shapes for r in runs) else runs[:1]
    return runs, [r.shapes[layer] for r in runs]


def _words(layer: str, runs: list[Run]) -> list[int]:
    """Return the axes of a layer that follow the length of the text."""
    base, shown = runs[0], runs[0].shapes[layer]
    other = next((r for r in runs[1:] if r.area == 1 and layer in r.shapes), None)
    if not base.length or other is None or not len(other.shapes[layer]) == len(shown) > 2:
        return []
    if other.length == base.length:  # the network takes no other
        return [a for a in range(1, len(shown)) if shown[a] == base.length]
    return [a for a in range(1, len(shown)) if other.shapes[layer][a] != shown[a]]


def _parts(layer: str, shape: tuple[int, ...], n: int, why: str) -> InputError:
    given = " x ".join(map(str, shape)) or "outputs of several ranks"
    return InputError(f"Layer {layer!r} gives {given} for {n} stimuli: {why}. Choose the layer around it.")


def shapes_of(source: Source, names: list[str], batch: Batch, *, partly: bool = False) -> Shapes:
    """Run a batch and note the shape each layer gives; layers that give no tensor are left out.

    With `partly`, a network that fails on the way, as it takes no such picture, tells of the layers before.
    """
    import torch

    shapes: Shapes = {}

    def note(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            made = first_tensor(output)
            if made is None:
                return
            before, shape = shapes.get(name), tuple(made.shape)
            if before is not None and len(before) != len(shape):
                shape = ()  # called for outputs of several kinds
            # of several calls the last, unless one was of parts of a stimulus
            if before is None or before[:1] <= shape[:1] or not shape:
                shapes[name] = shape if before != () else ()

        return hook

    handles = [source.module.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            source.forward(batch)
    except Exception as error:  # each library has errors of its own
        if not partly:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{type(source.module).__name__} does not run when it is shown "
                f"{source.reads.replace('+', ' and ')}: {reason(error)}. Choose another network, or options."
            ) from None
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def text_runs(source: Source, names: list[str], device: str) -> list[Run]:
    """Run texts of two lengths; of one where the network takes no other."""

    def run(n: int, cut: int | None, *, partly: bool = False) -> Run:
        batch = source.prepare([source.example] * n)
        batch = {k: (v[:, :cut] if k in WORDS else v).to(device) for k, v in batch.items()}
        length = next(batch[k].shape[1] for k in WORDS if k in batch)
        return Run(n, 1, shapes_of(source, names, batch, partly=partly), length)

    runs = [run(2, None), run(3, -3, partly=True)]
    return runs if runs[0].shapes.keys() == runs[1].shapes.keys() else [runs[0], run(3, None)]


def stream_runs(source: Source, names: list[str]) -> list[Run]:
    """Run sounds of two lengths, or clips; best on torch's device "meta"."""
    device = next(source.module.parameters()).device

    def run(n: int, share: float) -> Run:
        example = source.example
        if source.reads == "sound":
            example = example._replace(values=example.values[: int(share * len(example.values))])
        batch = source.prepare([example] * n)
        mask = batch.get("attention_mask")
        if device.type == "meta":
            batch.pop("attention_mask", None)  # looked into, to see whether anything is padded
        shapes = shapes_of(source, names, {k: v.to(device) for k, v in batch.items()})
        if mask is not None:
            return Run(n, 1, shapes, mask.shape[1])
        if source.reads == "sound":
            return Run(n, 1, shapes, next(iter(batch.values())).shape[-1])
        # of clips there is one size: most layers have its tokens
        sizes = [s[1] for s in shapes.values() if len(s) == 3]
        return Run(n, 1, shapes, max(set(sizes), key=sizes.count, default=0))

    return [run(2, 1), run(3, 0.7)]


def shown_run(source: Source, names: list[str], device: str) -> Run:
    """Run the usual text beside a picture half as high and half as wide, or twice the regions."""
    import torch

    batch = source.prepare([source.example] * 3)
    length = next(batch[k].shape[1] for k in WORDS if k in batch)
    more: dict[str, Any] = {}
    if "pixel_values" in batch:
        area = 0.25
        smaller = {
            k: v[..., : v.shape[-2] // 2, : v.shape[-1] // 2] for k, v in batch.items() if k not in WORDS
        }
        if "interpolate_pos_encoding" in signature(source.module.forward).parameters:
            more = {"interpolate_pos_encoding": True}
        batch |= smaller
    else:
        area = 2
        batch |= {k: torch.cat([v, v], 1) for k, v in batch.items() if k not in WORDS}
    batch = {k: v.to(device) for k, v in batch.items()} | more
    return Run(3, area, shapes_of(source, names, batch, partly=True), length)


def picture_runs(model: Model, source: Source, names: list[str]) -> list[Run]:
    """Run pictures of four sizes; only the first counts for layers that take no other.

    Parameters
    ----------
    model : Model
    source : Source
        Best on torch's device "meta", where nothing is computed.
    names : list of str
    """
    import torch

    height, width = source.example.shape[:2]
    device = next(source.module.parameters()).device
    key = "pixel_values" if model.extractor == "transformers" else "image"

    def run(source: Source, n: int, size: tuple[int, int], **more: Any) -> Run:
        batch = {key: torch.zeros(n, 3, *size, device=device)} | more
        area = size[0] * size[1] / (height * width)
        return Run(n, area, shapes_of(source, names, batch, partly=n > 2))

    def other(size: tuple[int, int]) -> Run:
        try:
            rebuilt = run(_resized(model, size), 3, size)
            if rebuilt.shapes:
                return rebuilt
        except Exception:  # noqa: BLE001  each library refuses a size in its own way
            pass
        if model.extractor != "transformers":
            return run(source, 3, size)
        resized = run(source, 3, size, interpolate_pos_encoding=True)
        return resized if resized.shapes else run(source, 3, size)  # some networks have no positions

    usual = run(source, 2, (height, width))
    oblong = [other((2 * height, width)), other((height, 2 * width))]
    double = other((2 * height, 2 * width))
    if any(r.shapes.keys() < usual.shapes.keys() for r in oblong) and len(double.shapes) > len(
        oblong[0].shapes
    ):
        return [usual, double]  # some take squares alone
    return [usual, *oblong, double]


def _resized(model: Model, size: tuple[int, int]) -> Source:
    """Build the network for pictures of another size, without numbers."""
    import torch

    from neuroenc.features.libraries import build

    option: dict[str, Any] = {
        "timm": {"img_size": size},
        "open_clip": {"force_image_size": size},
        "torchvision": {"input_size": size} if model.network == "maxvit_t" else {"image_size": size[0]},
    }[str(model.extractor)]
    with torch.device("meta"):
        made = build(model.model_copy(update={"options": model.options | option, "input_size": None}))
    made.module.eval()
    return made


def tell(layer: str, module: Any, runs: list[Run]) -> Layout:
    """Tell the layout of a layer.

    Parameters
    ----------
    layer : str
    module : nn.Module
        The layer, whose width is evidence too.
    runs : list of Run
        Of one layer's network at several sizes and lengths, the usual ones first.

    Raises
    ------
    InputError
        It cannot be told, or the layer does not lead with the batch.
    """
    there, shapes = _shapes(layer, runs)
    base = shapes[0]
    if any(not s or len(s) != len(base) or s[0] != r.n for s, r in zip(shapes, there, strict=True)):
        why = "its first axis is not the stimulus (it sees windows or parts one by one)"
        raise _parts(layer, base, runs[0].n, why)
    if len(base) == 2:
        return Layout(1)
    unknown = InputError(
        f"The output of layer {layer!r} is {' x '.join(map(str, base))}, and which axis holds the channels "
        f"cannot be told. Say so: `layout: {{{layer}: channels_first}}`, or channels_last, or tokens:<number "
        "that lead>."
    )
    if len(base) not in (3, 4):
        raise unknown
    width = next((getattr(module, a) for a in WIDTHS if hasattr(module, a)), None)
    width = width[-1] if isinstance(width, (tuple, list)) else width
    if words := _words(layer, runs):
        channels = {1, 2} - set(words)
        if len(base) == 4 or len(channels) != 1 or width not in (None, base[min(channels)]):
            raise unknown
        return Layout(channels.pop(), 0, words=True)
    if runs[0].length:  # beside a text
        there, shapes = _shapes(layer, [runs[0], *(r for r in runs if r.area != 1)])
    return _places(base, there, shapes, module, width, unknown)


def _places(
    base: tuple[int, ...], runs: list[Run], shapes: list[tuple[int, ...]], module: Any, width: Any,
    unknown: InputError,
) -> Layout:  # fmt: skip
    """Tell the layout of a layer that sees places of a picture, or pooled ones."""
    follows = [[s[a] != base[a] for s in shapes[1:]] for a in range(len(base))]
    grown = [a for a in range(1, len(base)) if any(follows[a])]
    if not grown:
        wide = [a for a in range(1, len(base)) if base[a] != 1]
        if len(wide) <= 1:
            axis = wide[0] if wide else 1
            places = len(base) == 3 and axis == 1 and width is None and "Pool" not in type(module).__name__
            if width not in (None, base[axis]) or places:  # as well one channel of as many places
                raise unknown
            return Layout(axis)
        own = [a for a in (1, len(base) - 1) if base[a] == width]
        if len(own) == 1:
            return Layout(own[0], 0 if len(base) == 4 else None)
        if "Pool2d" in type(module).__name__ and len(base) == 4:
            return Layout(1)
        raise unknown
    channels = {1, len(base) - 1} - set(grown)
    if len(channels) != 1 or len(grown) != len(base) - 2:
        raise unknown
    axis = channels.pop()
    if width is not None and width != base[axis]:
        raise unknown
    if len(base) == 4:
        for number, side in enumerate(grown):  # the first follows the height alone, the second the width
            if any(max(s[side], base[side]) >= 3 * min(s[side], base[side]) > 3 for s in shapes[1:]):
                raise unknown
            if len(runs) == 4 and follows[side][1 - number]:
                raise unknown
        return Layout(axis)
    return Layout(axis, _leading([s[grown[0]] for s in shapes], runs[-1].area))


def _leading(n: list[int], area: float) -> int | None:
    """Solve the numbers of tokens for how many lead, p; sides may be rounded.

    With p + h w, p + H w, p + h W and p + H W tokens, (n_Hw - p) (n_hW - p) = (n_hw - p) (n_HW - p). With two
    numbers alone, `area` apart, they must be squares beside those that lead, unless they are regions.
    """
    if len(n) == 4:
        above, below = n[1] * n[2] - n[0] * n[3], n[1] + n[2] - n[0] - n[3]
        return above // below if below and above % below == 0 and 0 <= above // below <= n[0] else None
    p = (area * n[0] - n[1]) / (area - 1)
    square = area == 2 or all(math.isqrt(int(k - p)) ** 2 == k - p for k in n if k >= p)
    return int(p) if square and 0 <= p <= n[0] and p.is_integer() else None


def lead(source: Source, n_tokens: int, prefix: int, device: str) -> bool:
    """Tell whether the tokens that stand for no place come first, as `Layout.prefix` says.

    It is measured where the network first has so many tokens, before any attention between them: a change in
    one corner of the picture changes the tokens of that corner alone.

    Parameters
    ----------
    source : Source
        Of pictures.
    n_tokens : int
        Of the layer, all.
    prefix : int
        How many of them stand for no place.
    device : str
    """
    import torch

    picture = np.random.default_rng(0).integers(0, 256, source.example.shape, np.uint8)
    ((key, pixels),) = ((k, v) for k, v in source.prepare([picture] * 3).items() if v.ndim == 4)
    height, width = (max(side // 8, 1) for side in pixels.shape[-2:])
    pixels[1, :, :height, :width] += 1
    pixels[2, :, -height:, -width:] += 1
    tokens: list[Any] = []

    def look(_module: Any, _inputs: Any, output: Any) -> None:
        made = first_tensor(output)
        if not tokens and made is not None and made.ndim == 3 and made.shape[:2] == (3, n_tokens):
            tokens.append(made.clone())

    handles = [module.register_forward_hook(look) for module in source.module.modules()]
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            source.forward({key: pixels.to(device)})
    finally:
        for handle in handles:
            handle.remove()
    if not tokens:
        return True
    first, last = ((tokens[0][k] != tokens[0][0]).any(-1).nonzero().flatten().tolist() for k in (1, 2))
    if not first or not last or n_tokens in (len(first), len(last)):
        return True  # they have met already
    return first[0] >= prefix and last[-1] == n_tokens - 1


def thirds(source: Source, name: str, axis: int, device: str) -> bool:
    """Tell whether the channels of a layer are queries, keys and values, one after the other.

    It is measured on the attention around the layer, whose weights sum to 1: what is added to all values is
    added to the output of every token alike, without values all tokens give the same, whereas the output is
    no linear function of the queries.

    Parameters
    ----------
    source : Source
    name : str
        Of the layer.
    axis : int
        Of its channels.
    device : str
    """
    import torch

    example = source.example
    if source.reads == "image":
        example = np.random.default_rng(0).integers(0, 256, example.shape, np.uint8)
    batch = source.prepare([example])
    layer = source.module.get_submodule(name)
    around = source.module.get_submodule(name.rpartition(".")[0])
    caught: dict[str, Any] = {}

    def catch(_module: Any, args: Any, kwargs: Any) -> None:
        caught["args"] = [a.clone() if hasattr(a, "clone") else a for a in args]
        caught["kwargs"] = {k: v for k, v in kwargs.items() if "past" not in k and "cache" not in k}

    def run(third: int = 0, scale: float | None = 0) -> Any:
        def add(_module: Any, _inputs: Any, output: Any) -> Any:
            if scale is None:
                return torch.cat([p * (i != third) for i, p in enumerate(output.chunk(3, axis))], axis)
            drawn = torch.randn(3, output.shape[axis] // 3, generator=torch.Generator().manual_seed(0))
            drawn = drawn * torch.eye(3)[third][:, None] * scale * output.std().cpu()
            shape = [1] * output.ndim
            shape[axis] = -1
            return output + drawn.reshape(shape).to(output)

        handle = layer.register_forward_hook(add)
        try:
            return first_tensor(around(*caught["args"], **caught["kwargs"]))
        finally:
            handle.remove()

    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        handle = around.register_forward_pre_hook(catch, with_kwargs=True)
        try:
            source.forward({k: v.to(device) for k, v in batch.items()})
        finally:
            handle.remove()
        usual = run()
        if usual.ndim < 3:
            return False
        value, query, more = (run(t, s) - usual for t, s in ((2, 1), (0, 30), (0, 60)))
        without = run(2, None)

    def spread(output: Any) -> Any:
        """Largest distance of a token from their mean, wherever the output has its channels."""
        tokens = (output.movedim(place, -1).flatten(1, -2) for place in (1, -1))
        return min((t - t.mean(1, keepdim=True)).abs().max() for t in tokens)

    alike, most = spread(value) < 1e-3 * value.abs().max(), more.abs().max()
    alike &= spread(without) <= 1e-3 * spread(usual)  # else some heads have values elsewhere
    bent = (more - 2 * query).abs().max() > 0.05 * most or most < value.abs().max()  # at 60 times as much
    return bool(alike and bent)
