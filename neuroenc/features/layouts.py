"""Which axis of a layer's output holds the channels, and how many tokens lead: measured, not guessed.

A network is run without numbers on pictures of its own size, twice as high and twice as wide (or on texts of
two lengths). An axis that follows the picture is space, one that follows neither is channels; what does not
grow with the picture are class and register tokens.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from neuroenc.config import Model
from neuroenc.errors import InputError

if TYPE_CHECKING:
    import torch

    from neuroenc.features.networks import Source

    Batch = dict[str, torch.Tensor]
    Shapes = dict[str, tuple[int, ...]]

WORDS = ("text", "input_ids", "attention_mask")
WIDTHS = ("out_features", "out_channels", "num_features", "num_channels", "normalized_shape", "embedding_dim")


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
    """Of the picture, in pictures of the usual size"""
    shapes: Shapes
    length: int = 0
    """Of the text, tokens"""


def stated(text: str) -> Layout:
    """Read an entry of `Model.layout`."""
    kind, _, prefix = text.partition(":")
    return Layout(1 if kind == "channels_first" else -1, int(prefix or 0))


def shapes_of(source: Source, names: list[str], batch: Batch, *, partly: bool = False) -> Shapes:
    """Run a batch and note the shape each layer gives; layers that give no tensor are left out.

    With `partly`, a network that fails on the way, as it takes no such picture, tells of the layers before.
    """
    import torch

    from neuroenc.features.networks import first_tensor

    shapes: Shapes = {}

    def note(name: str) -> Any:
        def hook(_module: Any, _inputs: Any, output: Any) -> None:
            made = first_tensor(output)
            if made is None:
                return
            before, shape = shapes.get(name), tuple(made.shape)
            if before is not None and len(before) != len(shape):
                shape = ()  # called for outputs of several kinds
            if (
                before is None or before[:1] <= shape[:1] or not shape
            ):  # of several calls the last, unless one
                shapes[name] = shape if before != () else ()  # was of parts of a stimulus

        return hook

    handles = [source.module.get_submodule(name).register_forward_hook(note(name)) for name in names]
    try:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            source.forward(batch)
    except Exception:
        if not partly:
            raise
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


def picture_runs(model: Model, source: Source, names: list[str]) -> list[Run]:
    """Run pictures of three sizes; only the first counts for layers that take no other.

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
        more = {"interpolate_pos_encoding": True} if model.extractor == "transformers" else {}
        return run(source, 3, size, **more)

    usual = run(source, 2, (height, width))
    oblong = [other((2 * height, width)), other((height, 2 * width))]
    if any(r.shapes.keys() < usual.shapes.keys() for r in oblong):  # some take squares alone
        square = other((2 * height, 2 * width))
        if len(square.shapes) > len(oblong[0].shapes):
            return [usual, square]
    return [usual, *oblong]


def _resized(model: Model, size: tuple[int, int]) -> Source:
    """Build the network for pictures of another size, without numbers."""
    import torch

    from neuroenc.features.networks import build

    option: dict[str, Any] = {
        "timm": {"img_size": size},
        "open_clip": {"force_image_size": size},
        "torchvision": {"input_size": size} if model.network == "maxvit_t" else {"image_size": size[0]},
    }[str(model.extractor)]
    with torch.device("meta"):
        made = build(model.model_copy(update={"options": model.options | option, "input_size": None}))
    made.module.eval()
    return made


def tell(layer: str, module: Any, runs: list[Run], *, joint: bool = False) -> Layout:
    """Tell the layout of a layer.

    Parameters
    ----------
    layer : str
    module : nn.Module
        The layer, whose width is evidence too.
    runs : list of Run
        Of one layer's network at several sizes.
    joint : bool
        Whether text and pictures are shown, and only texts differ between runs.

    Raises
    ------
    InputError
        It cannot be told, or the layer does not lead with the batch.
    """
    runs = runs if all(layer in r.shapes for r in runs) else runs[:1]
    shapes = [r.shapes[layer] for r in runs]
    base = shapes[0]
    given = " x ".join(map(str, base)) or "outputs of several ranks"
    if any(not s or len(s) != len(base) or s[0] != r.n for s, r in zip(shapes, runs, strict=True)):
        raise InputError(
            f"Layer {layer!r} gives {given} for {runs[0].n} stimuli: its first axis is not the stimulus (it "
            "sees windows or parts one by one). Choose the layer around it."
        )
    if len(base) == 2:
        return Layout(1)
    unknown = InputError(
        f"The output of layer {layer!r} is {given}, and which axis holds the channels cannot be told. "
        f"Say so: `layout: {{{layer}: channels_first}}`, or channels_last, or tokens:<number that lead>."
    )
    width = next((getattr(module, a) for a in WIDTHS if hasattr(module, a)), None)
    width = width[-1] if isinstance(width, (tuple, list)) else width
    if len(base) not in (3, 4):
        raise unknown
    follows = [[s[a] != base[a] for s in shapes[1:]] for a in range(len(base))]
    grown = [a for a in range(1, len(base)) if any(follows[a])]
    if len(runs) == 2 and runs[0].length and runs[0].length == runs[1].length:
        grown = [a for a in range(1, len(base)) if base[a] == runs[0].length]  # of texts of one length
    if not grown:
        wide = [a for a in range(1, len(base)) if base[a] != 1]
        if len(wide) <= 1:
            axis = wide[0] if wide else 1
            if width not in (None, base[axis]):
                raise unknown
            return Layout(axis)
        own = [a for a in (1, len(base) - 1) if base[a] == width]
        if len(own) == 1:
            return Layout(own[0], 0 if len(base) == 4 or joint else None)
        if "Pool2d" in type(module).__name__ and len(base) == 4:
            return Layout(1)
        if joint and len(base) == 3:
            return Layout(2)
        raise unknown
    channels = ({1, 2} if len(base) == 3 else {1, 3}) - set(grown)
    if len(channels) != 1 or len(grown) != len(base) - 2:
        raise unknown
    axis = channels.pop()
    if width is not None and width != base[axis]:
        raise unknown
    if len(base) == 4:
        for number, side in enumerate(grown):  # the first follows the height alone, the second the width
            if any(s[side] >= 3 * base[side] for s in shapes[1:]) and base[side] > 1:
                raise unknown
            if len(runs) == 3 and follows[side][1 - number]:
                raise unknown
        return Layout(axis)
    if runs[1].area == 1:  # texts differ, not pictures
        return Layout(axis, 0, words=True)
    n, m = base[grown[0]], [s[grown[0]] for s in shapes[1:]]
    leading = {(r.area * n - k) / (r.area - 1) for r, k in zip(runs[1:], m, strict=True)}
    whole = leading.pop() if len(leading) == 1 else -1.0
    return Layout(axis, int(whole) if whole >= 0 and whole.is_integer() else None)
