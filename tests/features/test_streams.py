"""Networks of sounds and films: a layer is what a plain pass of the one stimulus gives."""

import numpy as np
import pytest
import torch
import transformers
from features.test_moving import RATE, grating, table_of, tone, write_film

from neuroenc.arrays import load
from neuroenc.config import Model
from neuroenc.datasets import clips
from neuroenc.datasets.sounds import Sound, read_sound, resampled
from neuroenc.errors import InputError
from neuroenc.features import registry
from neuroenc.features.extract import describe, extract
from neuroenc.features.networks import Network

RNG = np.random.default_rng(0)
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
CONVOLVED = SIZES | {"conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
SOUNDS = {
    "wav2vec2": (CONVOLVED, "encoder.layers.1"),
    "hubert": (CONVOLVED, "encoder.layers.1"),
    "wavlm": (CONVOLVED, "encoder.layers.1"),
    "data2vec-audio": (CONVOLVED, "encoder.layers.1"),
    "wav2vec2-bert": (SIZES | {"output_hidden_size": 16}, "encoder.layers.1"),
    "whisper": ({"d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
                 "decoder_attention_heads": 2, "encoder_ffn_dim": 24, "decoder_ffn_dim": 24, "vocab_size": 60,
                 "pad_token_id": 1, "bos_token_id": 2, "eos_token_id": 3, "decoder_start_token_id": 2},
                "encoder.layers.1"),
}  # fmt: skip
FILMS = {
    "videomae": (SIZES | {"image_size": 32, "patch_size": 8, "num_frames": 4}, "encoder.layer.1"),
    "vjepa2": (SIZES | {"crop_size": 32, "patch_size": 8, "frames_per_clip": 8, "mlp_ratio": 2,
                        "pred_hidden_size": 12, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1},
               "encoder.layer.1"),
}  # fmt: skip
EXTRACTORS = {"wav2vec2-bert": "SeamlessM4TFeatureExtractor", "whisper": "WhisperFeatureExtractor"}


def processor_of(kind):
    if kind == "videomae":
        return transformers.VideoMAEImageProcessor(
            size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
        )
    if kind == "vjepa2":
        return transformers.VJEPA2VideoProcessor(crop_size={"height": 32, "width": 32})
    return getattr(transformers, EXTRACTORS.get(kind, "Wav2Vec2FeatureExtractor"))()


def make(folder, kind):
    config = transformers.AutoConfig.for_model(kind, **(SOUNDS | FILMS)[kind][0])
    torch.manual_seed(0)
    module = transformers.AutoModel.from_config(config)
    module.save_pretrained(folder)
    processor_of(kind).save_pretrained(folder)
    return module.eval()


def spec_of(folder, kind, **more):
    layers = [(SOUNDS | FILMS)[kind][1]]
    return Model(**{"extractor": "transformers", "network": str(folder), "layers": layers} | more)


def passed(module, kind, batch):
    """What the layer gives, (n_tokens, n_channels), in a pass of the library's own."""
    caught = {}
    handle = module.get_submodule((SOUNDS | FILMS)[kind][1]).register_forward_hook(
        lambda m, i, o: caught.update(out=o[0] if isinstance(o, tuple) else o)
    )
    with torch.no_grad():
        if kind == "whisper":
            module.encoder(batch["input_features"])
        elif kind == "vjepa2":
            module(batch["pixel_values_videos"], skip_predictor=True)
        else:
            module(**batch)
    handle.remove()
    return caught["out"][0].numpy()


def noise(seconds, rate=16_000):
    return (RNG.normal(size=round(seconds * rate)) / 5).astype(np.float32)


@pytest.mark.parametrize("kind", SOUNDS)
def test_a_layer_of_a_network_of_sound_is_what_a_plain_pass_gives(kind, tmp_path):
    module = make(tmp_path / kind, kind)
    network = Network(spec_of(tmp_path / kind, kind))
    assert network.reads == "sound"
    heard = [noise(1.0), noise(0.6), noise(1.0)]
    (got,) = network([Sound(values, 16_000) for values in heard]).values()
    own = processor_of(kind)
    for row, values in enumerate(heard):
        made = own(values, sampling_rate=16_000, return_tensors="pt")
        tokens = passed(module, kind, dict(made))
        if kind == "whisper":
            assert len(tokens) == 1500  # of 30 s
            tokens = tokens[: round(len(values) / 320)]
        elif kind == "wav2vec2-bert":
            tokens = tokens[made["attention_mask"][0].numpy() == 1]
        np.testing.assert_allclose(got[row], tokens.mean(0), atol=1e-5)
    alone = np.concatenate([next(iter(network([Sound(v, 16_000)]).values())) for v in heard])
    np.testing.assert_allclose(got, alone, atol=1e-5)
    assert np.abs(got[0] - got[2]).max() > 1e-4


@pytest.mark.parametrize("kind", SOUNDS)
def test_other_rates_silence_and_what_is_too_short_or_long(kind, tmp_path):
    make(tmp_path / kind, kind)
    model = spec_of(tmp_path / kind, kind)
    values = tone(300, 44_100) + tone(900, 44_100)
    there = resampled(Sound(values, 44_100), 16_000)
    found = describe([(values, 44_100), (there, 16_000)], model)
    np.testing.assert_allclose(*found["feature"].values, atol=1e-5)
    assert f"16000 Hz ({type(processor_of(kind)).__name__})" in found.attrs["preprocessing"]
    silent = describe([(np.zeros(16_000, "f4"), 16_000)], model)
    assert np.isfinite(silent["feature"].values).all()
    if kind == "whisper":
        with pytest.raises(InputError, match=r"^A sound lasts 31\.000 s, and whisper reads 30 s\."):
            describe([(np.zeros(31 * 16_000, "f4"), 16_000)], model)
    else:
        with pytest.raises(
            InputError, match=r"^A sound lasts 0\.006 s, .*(too short|does not take)"
        ) as caught:
            describe([(np.zeros(100, "f4"), 16_000)], model)
        assert "\n" not in str(caught.value)


def test_poolings_of_sound(tmp_path):
    module = make(tmp_path / "whisper", "whisper")
    values = noise(0.5)
    made = processor_of("whisper")(values, sampling_rate=16_000, return_tensors="pt")
    tokens = passed(module, "whisper", made)
    last = describe([(values, 16_000)], spec_of(tmp_path / "whisper", "whisper", pooling="last"))
    np.testing.assert_allclose(last["feature"].values[0], tokens[24], atol=1e-5)
    numbered = describe(
        [(values, 16_000)], spec_of(tmp_path / "whisper", "whisper", layers=["2"], pooling="tokens")
    )
    np.testing.assert_allclose(numbered["feature"].values[0], tokens, atol=1e-5)
    make(tmp_path / "hubert", "hubert")
    for pooling, message in (
        ("grid:2", "has no grid"),
        ("cls", "no class token"),
        ("own:mean", "is not of text"),
    ):
        with pytest.raises(InputError, match=message):
            describe([(values, 16_000)], spec_of(tmp_path / "hubert", "hubert", pooling=pooling))


@pytest.mark.parametrize("kind", FILMS)
def test_a_layer_of_a_network_of_films_is_what_a_plain_pass_gives(kind, tmp_path):
    module = make(tmp_path / kind, kind)
    network = Network(spec_of(tmp_path / kind, kind))
    assert network.reads == "clip"
    shown = [RNG.integers(0, 255, (n, 40, 50, 3), dtype=np.uint8) for n in (24, 3, 24)]
    (got,) = network([clips.of_frames(frames, 12.0) for frames in shown]).values()
    own, n = processor_of(kind), 4 if kind == "videomae" else 8
    for row, frames in enumerate(shown):
        evenly = frames[np.floor((np.arange(n) + 0.5) / n * len(frames)).astype(int)]  # repeated where few
        made = own(list(evenly) if kind == "videomae" else evenly, return_tensors="pt")
        tokens = passed(module, kind, made)
        assert len(tokens) == n // 2 * 16
        np.testing.assert_allclose(got[row], tokens.mean(0), atol=1e-5)
    preprocessing = network.contract["preprocessing"]
    assert f"{n} frames evenly over the stimulus" in preprocessing and "crop 32 x 32" in preprocessing
    assert 1 <= network.batch_size(1e-3) <= 256
    gridded = Network(spec_of(tmp_path / kind, kind, pooling="grid:2"))
    with pytest.raises(InputError, match="of sounds or films and has no grid"):
        gridded([clips.of_frames(shown[0], 12.0)])


def test_half_precision_of_films(tmp_path):
    make(tmp_path / "vjepa2", "vjepa2")
    frames = RNG.integers(0, 255, (8, 40, 50, 3), dtype=np.uint8)
    half, single = (
        describe([(frames, 8)], spec_of(tmp_path / "vjepa2", "vjepa2", precision=p))["feature"].values
        for p in ("bfloat16", "float32")
    )
    assert 0 < np.abs(half - single).max() < 0.05 * np.abs(single).max()


def test_a_film_is_seen_and_heard_where_the_stimulus_is(tmp_path):
    frames = [*grating(16, 0, 2, 2, RATE), *grating(32, np.pi, 2, 2, RATE)]
    write_film(tmp_path / "film.mp4", frames, np.concatenate([tone(300, 48_000, 2), tone(3_000, 48_000, 2)]))
    table = table_of(tmp_path, ["film.mp4"] * 4, range(4), [1] * 4)
    for kind, lead in (("wav2vec2", 0.0), ("wav2vec2", 0.5), ("videomae", 0.0), ("videomae", 0.5)):
        make(tmp_path / kind, kind)
        model = spec_of(tmp_path / kind, kind, lead=lead)
        extract(table, model, tmp_path / "f.nc", workers=0)
        found = load(tmp_path / "f.nc", "features")["feature"].values
        for row in (1, 3):
            if kind == "wav2vec2":
                sound = read_sound(tmp_path / "film.mp4", row - lead, 1 + lead)
                shown = (sound.values, sound.rate)
            else:
                (clip,) = clips.read_clips(table, np.array([row]))
                shown = (np.stack(clip.at((np.arange(4) + 0.5) / 4 * (1 + lead) - lead)), 4 / (1 + lead))
            alone = describe([shown], model)["feature"].values[0]
            np.testing.assert_allclose(found[row], alone, atol=1e-5)
    mixed = table.assign_coords(file=("stimulus", ["film.mp4", "a.png", "film.mp4", "film.mp4"]))
    with pytest.raises(InputError, match=r"Stimulus 's1' is 'a\.png', expected a film"):
        extract(mixed, model, tmp_path / "g.nc", workers=0)


def test_a_folder_without_a_preprocessor_is_explained(tmp_path):
    for kind, file in (("hubert", "preprocessor_config.json"), ("vjepa2", "video_preprocessor_config.json")):
        make(tmp_path / kind, kind)
        (tmp_path / kind / file).unlink()
        with pytest.raises(InputError, match=rf"^There is no {file} in .* Fetch it beside config\.json"):
            Network(spec_of(tmp_path / kind, kind))
        (tmp_path / kind / file).write_text("{")
        with pytest.raises(InputError, match=rf"^Cannot read {file} in ") as caught:
            Network(spec_of(tmp_path / kind, kind))
        assert "\n" not in str(caught.value)


def test_what_networks_of_films_and_sounds_take_is_described():
    told = {
        "wav2vec2-base": "sound of any length", "whisper-tiny": "up to 30 s of sound",
        "videomae-base": "films: 16 frames of 224 px RGB", "vjepa2-vitl": "films: 64 frames of 256 px RGB",
    }  # fmt: skip
    assert {name: registry.describe(name)["input"] for name in told} == told
    assert registry.describe("vjepa2-vitl")["tokens"] == "32 x 16 x 16"
