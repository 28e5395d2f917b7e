"""Networks of transformers that are shown films and sounds as they run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroenc.datasets.clips import Clip, of_frames
from neuroenc.datasets.sounds import Sound, resampled
from neuroenc.errors import InputError, reason
from neuroenc.features import common
from neuroenc.features.source import Source

if TYPE_CHECKING:
    from neuroenc.features.source import Alike, Batch

WAVES = ("wav2vec2", "hubert", "wavlm", "data2vec-audio")  # these read the samples themselves
EXTRACTORS = dict.fromkeys(WAVES, "Wav2Vec2FeatureExtractor") | {
    "wav2vec2-bert": "SeamlessM4TFeatureExtractor", "whisper": "WhisperFeatureExtractor",
}  # fmt: skip
CLIPS = {  # their processor, what they call their input, and the setting of their number of frames
    "videomae": ("VideoMAEImageProcessor", "pixel_values", "num_frames"),
    "vjepa2": ("VJEPA2VideoProcessor", "pixel_values_videos", "frames_per_clip"),
}
SECONDS = 10  # of the sound by which a network is looked at


def reads(kind: str) -> str | None:
    """Say whether a network is shown sounds or clips, or neither."""
    return "sound" if kind in EXTRACTORS else "clip" if kind in CLIPS else None


def describe(config: Any) -> dict[str, str]:
    """Describe what a network takes."""
    kind = config.model_type
    if kind in CLIPS:
        n, side = getattr(config, CLIPS[kind][2]), _side(config)
        grid = f"{n // config.tubelet_size} x {side // config.patch_size} x {side // config.patch_size}"
        return {"input": f"films: {n} frames of {side} px RGB", "tokens": grid}
    return {"input": "up to 30 s of sound" if kind == "whisper" else "sound of any length"}


def source(module: Any, config: Any, path: Path | None) -> Source:
    """Say how a network of films or sounds is fed.

    Parameters
    ----------
    module : nn.Module
    config : PretrainedConfig
    path : path or None
        Folder with its preprocessor; None: the default of its type.
    """
    return _of_clips(module, config, path) if config.model_type in CLIPS else _of_sounds(module, config, path)


def _side(config: Any) -> int:
    side = getattr(config, "image_size", None) or config.crop_size
    return int(side[0] if isinstance(side, (list, tuple)) else side)


def _of_sounds(module: Any, config: Any, path: Path | None) -> Source:
    import torch

    kind = config.model_type
    extractor = common.preprocessor(path, "AutoFeatureExtractor", EXTRACTORS[kind])
    rate = extractor.sampling_rate
    encoder = module.encoder if kind == "whisper" else module

    def batch_of(sound: Sound) -> Batch:
        values = resampled(sound, rate)
        seconds = f"A sound lasts {len(values) / rate:.3f} s"
        if kind in WAVES and _windows(len(values), config) < 1:
            raise InputError(f"{seconds}, too short for {kind}. Leave it out, or make the stimuli longer.")
        if kind == "whisper" and len(values) > extractor.n_samples:
            raise InputError(
                f"{seconds}, and {kind} reads {extractor.n_samples / rate:g} s. Make the stimuli shorter."
            )
        try:
            made = extractor(values, sampling_rate=rate, return_tensors="pt")
        except Exception as error:  # noqa: BLE001  each extractor has errors of its own
            raise InputError(f"{seconds}, which {kind} does not take: {reason(error)}.") from None
        if kind in WAVES:
            return {"input_values": made["input_values"][0]}
        batch = {"input_features": made["input_features"][0]}
        if kind == "whisper":  # what fills up to 30 s is no part of the sound
            n = config.max_source_positions
            heard = max(1, round(n * len(values) / extractor.n_samples))
            return batch | {"attention_mask": (torch.arange(n) < heard).long()}
        return batch | {"attention_mask": made["attention_mask"][0].long()}

    def alike(items: list[Sound]) -> Alike:
        return common.alike([batch_of(sound) for sound in items])

    def forward(batch: Batch) -> Any:
        return encoder(**{k: v for k, v in batch.items() if kind != "whisper" or k == "input_features"})

    done = f"one channel, {rate} Hz ({type(extractor).__name__})"
    return Source(
        module, alike, forward, "sound", Sound(np.zeros(SECONDS * rate, np.float32), rate),
        common.stated(done), ["encoder"] if kind == "whisper" else [],
    )  # fmt: skip


def _windows(n: int, config: Any) -> int:
    """Return how many vectors the convolutions make of so many samples."""
    for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
        n = (n - kernel) // stride + 1
    return n


def _of_clips(module: Any, config: Any, path: Path | None) -> Source:
    kind = config.model_type
    default, key, count = CLIPS[kind]
    auto = "AutoVideoProcessor" if kind == "vjepa2" else "AutoImageProcessor"
    processor = common.preprocessor(path, auto, default)
    n = getattr(config, count)

    def batch_of(clip: Clip) -> Batch:
        frames = clip.at((np.arange(n) + 0.5) / n * clip.duration)
        try:
            made = processor(frames if kind == "videomae" else np.stack(frames), return_tensors="pt")
        except Exception as error:  # noqa: BLE001  each processor has errors of its own
            raise InputError(
                f"{type(processor).__name__} does not take frames of {frames[0].shape[0]} x "
                f"{frames[0].shape[1]} px: {reason(error)}. Leave the film out, or crop it."
            ) from None
        return {key: made[key][0]}

    def forward(batch: Batch) -> Any:
        return module.encoder(batch[key]) if kind == "vjepa2" else module(batch[key])

    side = _side(config)
    contract = common.pictures(processor)
    contract["preprocessing"] += f"; {n} frames evenly over the stimulus"
    return Source(
        module, lambda clips: common.alike([batch_of(clip) for clip in clips]), forward, "clip",
        of_frames(np.zeros((n, side, side, 3), np.uint8), float(n)), contract,
        ["encoder"] if kind == "vjepa2" else [],
    )  # fmt: skip
