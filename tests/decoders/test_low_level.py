"""Latents decoded from responses, and back to pictures: nearer to the truth than those of shuffled brains."""

import numpy as np
import pytest
import torch

from neuroenc.config import Model, NetworkDecoding, Reconstruction, RidgeDecoding
from neuroenc.datasets.pixels import read_pixels
from neuroenc.decoders.decode import decode
from neuroenc.decoders.generator import make
from neuroenc.decoders.low_level import low_level_pictures, low_level_starts
from neuroenc.decoders.nano import resize
from neuroenc.decoders.reconstruct import reconstruct
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation.images import pixcorr
from neuroenc.features.extract import describe
from neuroenc.features.latents import Latents
from neuroenc.simulation import grammar
from neuroenc.simulation.train_network import training_scenes
from tests.features.test_latents import tiny

SIDE = 32


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """A tiny autoencoder, trained for seconds on pictures of the grammar that nobody is shown."""
    vae = tiny(scaling_factor=0.5)
    seen = np.stack([resize(grammar.draw(s, 64), SIDE) for s in training_scenes(96, 999)])
    x = torch.from_numpy(seen).permute(0, 3, 1, 2).float() / 127.5 - 1
    steps = torch.optim.Adam(vae.parameters(), 5e-3)
    for _ in range(60):
        batch = x[torch.randint(len(x), (16,))]
        error = (vae.decode(vae.encode(batch).latent_dist.mode()).sample - batch).square().mean()
        steps.zero_grad()
        error.backward()
        steps.step()
    folder = tmp_path_factory.mktemp("vae") / "tiny"
    vae.save_pretrained(folder)
    return Model(extractor="vae", network=str(folder), input_size=SIDE)


@pytest.fixture(scope="module")
def latent(drawn, autoencoder):
    seen = read_pixels(drawn.stimuli, np.arange(drawn.stimuli.sizes["stimulus"]))
    ids = drawn.stimuli["stimulus_id"].values
    return describe(seen, autoencoder).assign_coords(stimulus_id=("stimulus", ids))


def test_decoded_latents_become_pictures_that_are_like_the_truth(drawn, latent, autoencoder):
    encoder = Latents(autoencoder)
    row = {s: i for i, s in enumerate(drawn.stimuli["stimulus_id"].values)}
    for options in (RidgeDecoding(), NetworkDecoding(n_hidden=32, n_blocks=1, max_epochs=3, device="cpu")):
        found, null = (decode(drawn.responses, latent, drawn.split, options, shuffle=s) for s in (None, 0))
        at = np.array([row[s] for s in found["stimulus_id"].values])
        seen = np.stack([resize(p, SIDE) for p in read_pixels(drawn.stimuli, at)])
        starts = low_level_starts(found, null, 0, np.arange(len(at)), encoder)
        alike = {k: pixcorr(seen, v).mean() for k, v in starts.items()}
        assert alike["true"] > alike["brain"] > alike["shuffled"] + 0.1
        assert alike["brain"] > 0.3
        gain = pixcorr(seen, starts["brain"]) - pixcorr(seen, starts["shuffled"])
        assert gain.mean() > 3 * gain.std() / len(gain) ** 0.5
        turned = np.roll(starts["brain"], 1, axis=0)  # another picture's
        assert alike["brain"] > pixcorr(seen, turned).mean() + 0.1


def test_drawing_starts_from_decoded_latents(drawn, latent, autoencoder):
    ridge, encoder = RidgeDecoding(), Latents(autoencoder)
    eye, low = (
        [decode(drawn.responses, f, drawn.split, ridge, shuffle=s) for s in (None, 0)]
        for f in (drawn.features, latent)
    )
    asked = Reconstruction(decoder="r", model="m", low_level="low", side=SIDE, n_steps=2, n_test=4)
    given = (*eye, drawn.features, drawn.stimuli, drawn.split, make("nano"), asked)
    made = reconstruct(*given, low_level=tuple(low), latents=encoder)
    ids = low[0]["stimulus_id"].values.tolist()
    rows = [ids.index(s) for s in made["stimulus_id"].values]
    shown = low_level_pictures(low[0], 0, latents=encoder)[rows]
    np.testing.assert_array_equal(made["picture"].sel(condition="low_level").values, shown)
    with pytest.raises(InputError, match="Give --low-level-model"):
        reconstruct(*given, low_level=tuple(low))
    other = Latents(autoencoder.model_copy(update={"weights": "random:0"}))
    with pytest.raises(
        ContractError, match=r"whose 'weights' is .*; those of the autoencoder given are 'random"
    ):
        reconstruct(*given, low_level=tuple(low), latents=other)
    with pytest.raises(ContractError, match="expected 'pixel/…' or 'vae/…'"):
        low_level_pictures(eye[0], 0)
