"""What networks of transformers have in common: the library, what is said of their input, their batches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from neuroenc.errors import InputError, reason

if TYPE_CHECKING:
    from neuroenc.features.source import Alike, Batch


# what a folder says of its preprocessor, alone or beside its tokenizer
SETTINGS = ("preprocessor_config.json", "video_preprocessor_config.json", "processor_config.json")


def library() -> Any:
    """Import transformers, quiet."""
    try:
        import transformers
    except ImportError:
        raise InputError("Networks of transformers need the extra 'text'. Install neuroenc[text].") from None
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


def preprocessor(path: Path | None, auto: str, default: str) -> Any:
    """Read what prepares pictures, films or sounds for a network.

    Parameters
    ----------
    path : path or None
        Folder of the network; None: the default of its type.
    auto : str
        Class that reads it, "AutoImageProcessor", …
    default : str
        Class that has the defaults.

    Raises
    ------
    InputError
        The folder has none, or a broken one: what suits its weights cannot be told.
    """
    transformers = library()
    if path is None:
        return getattr(transformers, default)()
    there = [name for name in SETTINGS if (path / name).exists()]
    if not there:
        usual = SETTINGS["Video" in default]
        raise InputError(f"There is no {usual} in {path}. Fetch it beside config.json.")
    try:
        return getattr(transformers, auto).from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # noqa: BLE001  each kind has errors of its own
        raise InputError(f"Cannot read {there[0]} in {path}: {reason(error)}. Fetch it again.") from None


def stated(preprocessing: str) -> dict[str, str]:
    """Say in the contract that the library prepares the input."""
    return {"normalisation": "the library's own", "pixel_range": "the library's own",
            "preprocessing": preprocessing}  # fmt: skip


def pictures(processor: Any) -> dict[str, str]:
    """Say in the contract what an image processor of transformers does."""
    done = []
    if getattr(processor, "do_resize", False):
        size = {k: v for k, v in dict(processor.size).items() if v is not None}
        resample = getattr(processor, "resample", None)
        how = "the library's own" if resample is None else Image.Resampling(resample).name.lower()
        if "height" in size:
            done.append(f"{how} resize to {size['height']} x {size['width']} whatever the shape")
        else:
            done.append(
                f"{how} resize to " + ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in size.items())
            )
    if getattr(processor, "do_center_crop", False):
        crop = dict(processor.crop_size)
        done.append(f"centre crop {crop['height']} x {crop['width']}")
    if getattr(processor, "do_pad", False):
        done.append("filled up to sides the network takes")
    normalised = getattr(processor, "do_normalize", False) and getattr(processor, "image_mean", None)
    return {
        "normalisation": f"mean {tuple(processor.image_mean)}, std {tuple(processor.image_std)}"
        if normalised
        else "none",
        "pixel_range": "0 to 1 before normalisation"
        if getattr(processor, "do_rescale", True)
        else "0 to 255",
        "preprocessing": f"RGB, {', '.join(done)} ({type(processor).__name__})",
    }


def alike(made: list[Batch]) -> Alike:
    """Put stimuli of one shape together; none is filled up, so that none changes another."""
    import torch

    groups: dict[Any, list[int]] = {}
    for row, one in enumerate(made):
        groups.setdefault(tuple(v.shape for v in one.values()), []).append(row)
    return [
        (rows, {k: torch.stack([made[r][k] for r in rows]) for k in made[rows[0]]})
        for rows in groups.values()
    ]
