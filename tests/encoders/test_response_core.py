"""The response-optimised core: rotations, readouts, what it learns, what is missing."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch.nn import functional

from neuroenc.encoders import ResponseCore, RidgeCV
from neuroenc.encoders.missing import correlation
from neuroenc.encoders.response_core import Core, Factorised, GaussianMask, RotatedConv
from neuroenc.errors import InputError

SIDE = 16


def turn(maps):
    return torch.rot90(maps, 1, (-2, -1))


def test_without_rotations_it_is_a_convolution():
    torch.manual_seed(0)
    layer = RotatedConv(3, 5, 1, 1, 3)
    x = torch.randn(2, 3, 1, 8, 8)
    expected = functional.conv2d(x[:, :, 0], layer.weight[:, :, 0], layer.bias, padding=1)
    torch.testing.assert_close(layer(x)[:, :, 0], expected)


def test_maps_turn_with_the_picture_and_move_on_by_one_rotation():
    torch.manual_seed(0)
    lifting, group = RotatedConv(3, 4, 1, 4, 5).double(), RotatedConv(4, 6, 4, 4, 3).double()
    x = torch.randn(2, 3, 1, 12, 12, dtype=torch.float64)
    for layers in ((lifting,), (lifting, group)):
        plain, turned = x, turn(x)
        for layer in layers:
            plain, turned = layer(plain).relu(), layer(turned).relu()
        torch.testing.assert_close(turned, turn(plain).roll(1, 2))
    core = Core(12, 3, 4, 2, 4).double()
    tokens = x[:, :, 0].flatten(2).transpose(1, 2)
    maps = core(tokens).transpose(1, 2).unflatten(1, (4, 4)).unflatten(-1, (6, 6))
    moved = core(turn(x)[:, :, 0].flatten(2).transpose(1, 2)).transpose(1, 2).unflatten(1, (4, 4))
    torch.testing.assert_close(moved.unflatten(-1, (6, 6)), turn(maps).roll(1, 2))


@pytest.mark.parametrize("kind", [Factorised, GaussianMask])
def test_a_readout_is_a_place_times_features(kind):
    torch.manual_seed(0)
    readout = kind(4, 3, 5)
    x, places = torch.randn(2, 16, 3), readout.places()
    expected = torch.einsum("nlc,tl,tc->nt", x, places, readout.feature) + readout.bias
    torch.testing.assert_close(readout(x), expected)
    torch.testing.assert_close(places.norm(dim=1), torch.ones(5))
    assert (places >= 0).all()


def seen(n, n_targets=6, seed=0):
    """Pictures, and responses of cells: the energy of one orientation around a place of their own."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, SIDE**2, 1)).astype("f4")
    pictures = torch.from_numpy(X).transpose(1, 2).unflatten(-1, (SIDE, SIDE))
    row = torch.tensor([-1.0, 0, 1]).expand(3, 3)
    places = [(4, 4), (4, 11), (11, 4), (11, 11), (8, 8), (4, 8)][:n_targets]
    energy = torch.cat([functional.conv2d(pictures, k[None, None], padding=1) for k in (row, row.T)], 1) ** 2
    Y = np.stack([
        energy[:, j % 2, r - 2 : r + 3, c - 2 : c + 3].mean((1, 2)).numpy() for j, (r, c) in enumerate(places)
    ], 1)  # fmt: skip
    return X, Y.astype("f4"), places


@pytest.mark.parametrize(
    ("readout", "n_rotations"),
    [("factorised", 1), ("gaussian", 1), ("gaussian", 4), ("semantic_transformer", 1)],
)
def test_it_learns_energies_that_no_linear_readout_of_pixels_has(readout, n_rotations):
    X, Y, _ = seen(900)
    model = ResponseCore(
        readout=readout, n_filters=8, n_blocks=2, n_rotations=n_rotations, n_hidden=8, max_epochs=40,
    ).fit(X[:700], Y[:700])  # fmt: skip
    linear = RidgeCV().fit(X[:700].reshape(700, -1), Y[:700])
    assert correlation(Y[700:], model.predict(X[700:])).mean() > 0.6
    assert abs(correlation(Y[700:], linear.predict(X[700:].reshape(200, -1))).mean()) < 0.15


def test_a_gaussian_finds_the_place_of_each_cell():
    X, Y, places = seen(900)
    model = ResponseCore(readout="gaussian", n_filters=8, n_blocks=2, max_epochs=40)
    model.fit(X, Y)
    centre = model.module_.readout.mask[:, :2].detach().numpy()
    truth = (np.array(places) + 0.5) / SIDE - 0.5
    assert np.abs(centre - truth).max() < 0.12


def test_subjects_side_by_side_teach_one_core():
    """Two subjects with pictures of their own: alone each sees too few, together the core has all."""
    X, Y, _ = seen(500)
    both = np.full((400, 12), np.nan, "f4")
    both[:200, :6], both[200:, 6:] = Y[:200], Y[200:400]
    options = {"readout": "gaussian", "n_filters": 8, "n_blocks": 2, "max_epochs": 50}
    rows = np.arange(400)
    cv = [(rows[rows % 5 > 0], rows[rows % 5 == 0])]
    joint = ResponseCore(**options, cv=cv).fit(X[:400], both).predict(X[400:])
    alone = ResponseCore(**options).fit(X[:200], Y[:200]).predict(X[400:])
    r = correlation(Y[400:], joint[:, :6]).mean()
    assert np.isfinite(joint).all() and r > correlation(Y[400:], alone).mean() + 0.02


def test_a_missing_response_is_no_response_at_all():
    X, Y, _ = seen(60, 3)
    lacking = Y.copy()
    lacking[5, 1] = np.nan
    # with batches of one picture, that picture's other cells and the first cell's masks stay as they are
    module = ResponseCore(n_filters=2, n_blocks=1)._module(SIDE**2, 1, 3)
    from neuroenc.encoders.training import _squared_error

    for values in (Y, lacking):
        module.zero_grad()
        _squared_error(module, torch.from_numpy(X[5:6]), torch.from_numpy(values[5:6]), 0).backward()
        found = module.readout.feature.grad.clone()
        if values is Y:
            whole = found
    assert (found[1] == 0).all() and torch.equal(found[[0, 2]], whole[[0, 2]])


def test_it_is_seeded_and_refuses_sides_that_do_not_halve():
    X, Y, _ = seen(80, 3)
    model = ResponseCore(n_filters=4, n_blocks=2, max_epochs=2)
    np.testing.assert_array_equal(model.fit(X, Y).predict(X), clone(model).fit(X, Y).predict(X))
    with pytest.raises(InputError, match=r"expected a multiple of 32, found 16\. Pool to 'grid:32'"):
        ResponseCore(n_blocks=6).fit(X, Y)
