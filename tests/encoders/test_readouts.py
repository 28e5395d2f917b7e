"""Readouts on a grid of tokens, held against simulations with a known answer."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import PLSRegression
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold
from sklearn.utils.estimator_checks import parametrize_with_checks

from neuroenc.encoders import checkpoint, training
from neuroenc.encoders.attention import AttentionRouting, positions
from neuroenc.encoders.delay import delay
from neuroenc.encoders.design import Design
from neuroenc.encoders.factorise import factorise
from neuroenc.encoders.factorised import FactorisedCV, alternate, first_masks, mean_tokens
from neuroenc.encoders.gaussian import GaussianFieldCV, fields, pooling
from neuroenc.encoders.missing import correlation
from neuroenc.encoders.pls import PLS
from neuroenc.encoders.probing import EfficientProbing
from neuroenc.encoders.random_attention import RandomAttentionCV
from neuroenc.encoders.response_core import ResponseCore
from neuroenc.encoders.ridge import RidgeCV
from neuroenc.encoders.semantic_transformer import SemanticTransformer
from neuroenc.encoders.store import load_model, save_model
from neuroenc.errors import InputError

SIDE, CHANNELS, TARGETS = 4, 12, 8


def tokens(n=400, seed=0):
    return np.random.default_rng(seed).normal(size=(n, SIDE**2, CHANNELS)).astype("f4")


def localised(n=400, noise=0.5, seed=0):
    """Each target sees one cell."""
    rng = np.random.default_rng(seed)
    X = tokens(n, seed)
    cell = rng.integers(0, SIDE**2, TARGETS)
    weight = rng.normal(size=(TARGETS, CHANNELS)) / CHANNELS**0.5
    Y = np.einsum("ntc,tc->nt", X[:, cell], weight) + noise * rng.normal(size=(n, TARGETS))
    return X, (Y + 2).astype("f4"), cell


def object_anywhere(n=600, seed=0):
    """A marked token, wherever it stands, carries what the target answers to."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, SIDE**2, CHANNELS)).astype("f4")
    X[:, :, 0] = 0
    cell = rng.integers(0, SIDE**2, n)
    X[np.arange(n), cell, 0] = 4
    value = X[np.arange(n), cell, 1]
    Y = value[:, None] * np.array([1.0, -1.0, 0.5, 2.0]) + 0.2 * rng.normal(size=(n, 4))
    return X, Y.astype("f4"), cell


@pytest.mark.parametrize("model", [FactorisedCV(), GaussianFieldCV(n_positions=4)])
def test_localised_readouts_find_the_cell_and_beat_ridge(model):
    X, Y, cell = localised()
    model.fit(X[:200], Y[:200])
    if isinstance(model, FactorisedCV):
        np.testing.assert_array_equal(np.abs(model.mask_).argmax(1), cell)
    else:
        centre = np.stack([cell % SIDE + 0.5, cell // SIDE + 0.5], 1) / SIDE
        np.testing.assert_allclose(model.field_[:, :2], centre, atol=0.01)
    flat = RidgeCV(np.logspace(0, 4, 6)).fit(X[:200].reshape(200, -1), Y[:200])
    r = [
        correlation(Y[200:], p).mean()
        for p in (model.predict(X[200:]), flat.predict(X[200:].reshape(200, -1)))
    ]
    assert r[0] > r[1] + 0.1 and r[0] > 0.8


def test_alternation_ends_where_neither_factor_can_improve():
    X, Y, _ = localised(150)
    alpha = np.full(TARGETS, 5.0)
    mask, feature, intercept = next(
        alternate(X, mean_tokens(X), Y, alpha[None], np.ones((TARGETS, SIDE**2)), 200)
    )
    pooled = np.einsum("nlc,tl->tnc", X, mask)
    for t in range(TARGETS):
        ridge = Ridge(5.0).fit(pooled[t], Y[:, t])
        np.testing.assert_allclose(feature[t], ridge.coef_, atol=1e-4)
        assert intercept[t] == pytest.approx(ridge.intercept_, abs=1e-4)
        length = np.linalg.norm(feature[t])
        turned = Ridge(5.0).fit(X @ (feature[t] / length), Y[:, t])
        np.testing.assert_allclose(mask[t] * length, turned.coef_, atol=1e-3)


@pytest.mark.parametrize("n", [100, 400])
def test_alternation_starts_at_the_masks_of_ridge(n):
    X, Y, _ = localised(n)
    rows = np.random.default_rng(0).permutation(n)[: n * 4 // 5]
    found = first_masks(Design(X), Y, rows, factorise(X.reshape(n, -1), X[:0, 0, 0]))
    ridge = RidgeCV(np.logspace(2, 7, 6), cv=2, dtype="float32").fit(X[rows].reshape(len(rows), -1), Y[rows])
    coef = ridge.coef_.reshape(TARGETS, SIDE**2, CHANNELS)
    expected = np.linalg.svd(coef, full_matrices=False)[0][:, :, 0]
    found = found / np.linalg.norm(found, axis=1, keepdims=True)
    np.testing.assert_allclose(np.abs((found * expected).sum(1)), 1, atol=1e-5)


def test_gaussian_fields_are_ridge_on_pooled_features():
    X, Y, _ = localised(120)
    model = GaussianFieldCV(n_positions=3, sizes=(0.1, 0.3)).fit(X, Y)
    assert len(fields(3, (0.1, 0.3))) == 19
    for t in range(TARGETS):
        weight = pooling(model.field_[t], SIDE)
        assert weight.sum() == pytest.approx(1)
        ridge = Ridge(model.alpha_[t]).fit(np.einsum("nlc,l->nc", X, weight), Y[:, t])
        np.testing.assert_allclose(model.coef_[t], ridge.coef_, atol=1e-3)


@pytest.mark.parametrize(
    ("n", "p", "n_targets", "k", "odd"),
    [
        (100, 30, 20, 25, ""), (60, 200, 20, 25, ""), (60, 200, 1, 10, ""), (300, 40, 2, 25, ""),
        (80, 80, 300, 10, ""), (100, 40, 10, 10, "constant"), (50, 100, 10, 10, "constant"),
        (100, 40, 10, 10, "collinear"), (50, 100, 10, 10, "collinear"), (100, 30, 20, 5, "far from zero"),
    ],
)  # fmt: skip
def test_pls_is_what_scikit_learns_converges_to(n, p, n_targets, k, odd, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) / np.arange(1, p + 1) ** 0.5
    X[:, ::4] = 5.5 if odd == "constant" else X[:, ::4]
    X[:, p // 2 :] = 2 * X[:, : p - p // 2] if odd == "collinear" else X[:, p // 2 :]
    X += 1e4 * (odd == "far from zero")
    Y = X @ rng.standard_normal((p, n_targets)) + rng.standard_normal((n, n_targets)) + 10
    folds = [(rows, held) for rows, held in KFold(3).split(X)]
    folds[0] = np.repeat(folds[0][0], 2)[:n], folds[0][1]  # rows that are fitted twice

    def expected(rows, asked):
        number = min(k, p, len(rows) - 1)
        model = PLSRegression(number, scale=False, tol=1e-24, max_iter=100_000).fit(X[rows], Y[rows])
        return model, model.predict(X[asked]).reshape(len(asked), -1)

    np.save(tmp_path / "x.npy", X)
    found = PLS(k, cv=folds).fit(np.load(tmp_path / "x.npy", mmap_mode="r"), Y)
    model, shown = expected(np.arange(n), np.arange(n))
    np.testing.assert_allclose(found.coef_, model.coef_, atol=1e-5 * np.abs(model.coef_).max())
    np.testing.assert_allclose(found.predict(X), shown, atol=1e-5 * Y.std())
    scores = [r2_score(Y[held], expected(rows, held)[1], multioutput="raw_values") for rows, held in folds]
    np.testing.assert_allclose(found.best_score_, np.mean(scores, 0), atol=1e-5)
    np.testing.assert_array_equal(PLS(k, cv=folds).fit(X, Y).coef_, found.coef_)


@pytest.mark.parametrize("shape", [(100, 30), (40, 80)])
def test_pls_ends_at_least_squares(shape):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((shape[0], 6)) @ rng.standard_normal((6, shape[1]))
    Y = rng.standard_normal((shape[0], 4))
    expected = LinearRegression().fit(X, Y).predict(X)
    np.testing.assert_allclose(PLS(20).fit(X, Y).predict(X), expected, atol=1e-8)


def test_attention_routes_to_the_object_and_beats_ridge():
    X, Y, cell = object_anywhere()
    model = AttentionRouting(n_dimensions=32, n_heads=2, n_hidden=32, max_epochs=60, learning_rate=3e-3)
    model.fit(X[:500], Y[:500])
    flat = RidgeCV(np.logspace(0, 4, 6)).fit(X[:500].reshape(500, -1), Y[:500])
    r = [
        correlation(Y[500:], p).mean()
        for p in (model.predict(X[500:]), flat.predict(X[500:].reshape(100, -1)))
    ]
    assert r[0] > 0.9 > r[1] + 0.3
    for kind in ("weight", "relevance"):
        maps = model.attention_maps(X[500:], kind=kind)
        assert maps.shape == (100, 1, SIDE, SIDE)
    weight = model.attention_maps(X[500:], kind="weight")
    np.testing.assert_allclose(weight.sum((2, 3)), 1, atol=1e-5)
    assert (weight.reshape(100, -1).argmax(1) == cell[500:]).mean() > 0.95


def reference_forward(module, x, membership, overlap):
    """The published form: every token times every target, then masked."""
    with torch.no_grad():
        token = module.route(x)
        readout = torch.empty_like(module.readout)
        readout[torch.from_numpy(module.order)] = module.readout
        every = token @ readout.T  # (n, queries, targets)
        mask = torch.from_numpy(membership.T.astype("f4"))
        if overlap == "learned":
            mask = mask / mask.sum(0)  # mixtures start at the mean
        return (every * mask).sum(1) + module.bias


@pytest.mark.parametrize("overlap", ["learned", "sum"])
def test_grouped_readout_is_the_published_one(overlap):
    rng = np.random.default_rng(0)
    membership = rng.random((30, 5)) < 0.4
    membership[~membership.any(1), 2] = True
    model = AttentionRouting(membership, overlap=overlap, n_dimensions=16, n_heads=2)
    torch.manual_seed(0)
    module = model._module(SIDE**2, CHANNELS, 30).eval()
    torch.nn.init.normal_(module.bias)
    x = torch.from_numpy(tokens(6))
    expected = reference_forward(module, x, membership, overlap)
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_a_query_for_each_target_needs_no_square():
    def made(regions, n):
        return AttentionRouting(regions, n_dimensions=16, n_heads=2)._module(SIDE**2, CHANNELS, n)

    module = made(np.eye(9, dtype=bool), 9)
    assert module.single
    held = [sum(v.numel() for v in made("each", n).state_dict().values()) for n in (1, 101, 201)]
    assert held[2] - held[1] == held[1] - held[0] == 100 * (2 * 16 + 1)  # query, readout, bias
    x = torch.from_numpy(tokens(5))
    module.eval()
    expected = reference_forward(module, x, np.eye(9, dtype=bool), "sum")
    torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-5)


def test_attention_is_that_of_torch():
    """Scores and values against torch's own multi-head attention."""
    model = AttentionRouting(n_dimensions=16, n_heads=4, mlp=False)
    torch.manual_seed(1)
    m = model._module(SIDE**2, CHANNELS, 3).eval()
    x = torch.from_numpy(tokens(4))
    theirs = torch.nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([torch.eye(16)] * 3))
        theirs.in_proj_bias.zero_()
        theirs.out_proj.weight.copy_(m.out.weight)
        theirs.out_proj.bias.copy_(m.out.bias)
        q = m.to_query(m.query).expand(4, -1, -1)
        out, weight = theirs(q, m.keys(x), m.to_value[0](x), average_attn_weights=True)
        torch.testing.assert_close(m.route(x), m.after(out), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(m.attention(x)[:, :, 0], weight, rtol=1e-4, atol=1e-5)


def test_positions_tell_cells_apart():
    code = positions(25, 32)
    assert code.shape == (25, 32)
    similarity = code @ code.T
    assert (similarity.argmax(1) == np.arange(25)).all()


TRAINED = [
    AttentionRouting("each", n_dimensions=16, n_heads=2, mlp=False, max_epochs=6),
    EfficientProbing(n_queries=3, max_epochs=6),
    AttentionRouting(n_dimensions=16, n_heads=2, n_hidden=16, max_epochs=6),
    SemanticTransformer(max_epochs=6),
    ResponseCore(n_filters=4, n_blocks=2, readout="gaussian", max_epochs=6),
]


@pytest.mark.parametrize("model", TRAINED)
def test_a_killed_run_ends_in_the_same_weights(model, tmp_path, monkeypatch):
    X, Y, _ = localised(120)
    whole = model.fit(X, Y).predict(X)
    from sklearn.base import clone

    resumed = clone(model).set_params(checkpoint=tmp_path / "run.safetensors")
    calls = []

    def killed(*args, **kwargs):
        store(*args, **kwargs)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    store = checkpoint.Run.store
    monkeypatch.setattr(checkpoint.Run, "store", killed)
    with pytest.raises(KeyboardInterrupt):
        resumed.fit(X, Y)
    assert len(resumed.fit(X, Y).history_) == 6
    np.testing.assert_array_equal(resumed.predict(X), whole)


def test_semantic_transformer_starts_as_factorised_and_learns():
    X = tokens(400)
    weight = np.random.default_rng(1).normal(size=(CHANNELS, TARGETS))
    Y = (X[:, : SIDE**2 // 2].mean(1) @ weight).astype("f4")  # the upper half of the picture
    model = SemanticTransformer(max_epochs=60, learning_rate=1e-2).fit(X[:300], Y[:300])
    assert correlation(Y[300:], model.predict(X[300:])).mean() > 0.8
    torch.manual_seed(0)
    module = model._module(SIDE**2, CHANNELS, TARGETS).eval()
    x = torch.from_numpy(X[:3])
    with torch.no_grad():
        mask = module.mask.relu().flatten(1)
        mask = mask / mask.norm(dim=1, keepdim=True)
        expected = torch.einsum("nlc,tl,tc->nt", x, mask, module.feature) + module.bias
        torch.testing.assert_close(module(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        *TRAINED,
        FactorisedCV(),
        GaussianFieldCV(n_positions=3),
        AttentionRouting(
            np.random.default_rng(0).random((TARGETS, 3)) < 0.6, n_dimensions=16, n_heads=2, max_epochs=3
        ),
    ],
)
def test_models_survive_the_disk(model, tmp_path):
    X, Y, _ = localised(100)
    model.fit(X, Y)
    save_model(model, tmp_path / "m.safetensors")
    np.testing.assert_allclose(load_model(tmp_path / "m.safetensors").predict(X), model.predict(X), atol=1e-5)


@pytest.mark.parametrize("kind", [RidgeCV, PLS])
@pytest.mark.parametrize("n", [60, 300])
def test_linear_models_survive_the_disk(kind, n, tmp_path):
    X, Y, _ = localised(n)
    flat = X.reshape(n, -1)
    model = kind().fit(flat, Y)
    save_model(model, tmp_path / "m.safetensors")
    np.testing.assert_allclose(
        load_model(tmp_path / "m.safetensors").predict(flat), model.predict(flat), atol=1e-4
    )


@pytest.mark.parametrize("model", [RidgeCV(), PLS(3), FactorisedCV(), GaussianFieldCV(n_positions=3)])
def test_refitting_to_the_same_rows_changes_nothing(model):
    X, Y, _ = localised(100)
    X = X.reshape(100, -1) if isinstance(model, (RidgeCV, PLS)) else X
    model.fit(X, Y)
    np.testing.assert_allclose(model.refit(X, Y).predict(X), model.predict(X), atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        FactorisedCV((1.0, 10.0), n_alternations=2), GaussianFieldCV((1.0, 10.0), n_positions=2),
        RandomAttentionCV(n_queries=2), AttentionRouting(max_epochs=1), EfficientProbing(max_epochs=1),
        SemanticTransformer(max_epochs=1), ResponseCore(max_epochs=1),
    ],
    ids=lambda m: type(m).__name__,
)  # fmt: skip
def test_predictions_have_the_dimensions_of_y(model, tmp_path):
    """(n, 1) against a y of (n,) would be broadcast to (n, n)."""
    X, Y, _ = localised(n=60)
    assert model.fit(X, Y[:, :1]).predict(X[:5]).shape == (5, 1)
    assert model.fit(X, Y[:, 0]).predict(X[:5]).shape == (5,)
    save_model(model, tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").predict(X[:5]).shape == (5,)


@pytest.mark.parametrize(
    "model", [FactorisedCV((1.0, 10.0)), GaussianFieldCV(n_positions=2), RandomAttentionCV()]
)
def test_a_constant_target_is_predicted_as_it_is(model):
    X, Y, _ = localised(n=60)
    both = np.column_stack([np.full(60, 2.0), Y[:, 0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(model.fit(X, both).predict(X[:5])[:, 0], 2)


def test_delays_look_back_within_their_story():
    X = np.arange(6.0)[:, None] + 1
    found = delay(X, [0, 1, 2], groups=[0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(found, [[1, 0, 0], [2, 1, 0], [3, 2, 1], [4, 0, 0], [5, 4, 0], [6, 5, 4]])
    np.testing.assert_array_equal(delay(X, [-1])[:, 0], [2, 3, 4, 5, 6, 0])


@pytest.mark.parametrize(
    ("delays", "groups", "message"),
    [
        ([3], list("aabbaa"), "'a' stands in two stretches"),
        ([1], list("ababab"), "'a' stands in two stretches"),
        ([0.5], None, "whole numbers"),
        ([], None, "whole numbers"),
        ([1, 2, 1], None, "each once"),
        ([1], [1, 1, 1, 2, np.nan, np.nan], r"no name for 2 of 6 samples \(NaN\)"),
        ([1], ["a"], r"groups has shape \(1,\), X 6 samples"),
    ],
)
def test_delays_that_would_pass_from_run_to_run_are_refused(delays, groups, message):
    """Of runs 1, 2, 1 of two sessions the third would look back into the first."""
    with pytest.raises(InputError, match=message):
        delay(np.arange(6.0)[:, None], delays, groups)


def test_delays_of_one_feature_need_its_axis():
    with pytest.raises(InputError, match=r"X has shape \(6,\)"):
        delay(np.arange(6.0), [1])


def test_bad_tokens_are_named():
    X, Y, _ = localised(60)
    model = AttentionRouting(max_epochs=1, n_dimensions=16, n_heads=2).fit(X, Y)
    with pytest.raises(InputError, match="Features have 9 tokens, the model was fitted to 16"):
        model.predict(X[:, :9])
    with pytest.raises(InputError, match="5 channels, the model was fitted to 12"):
        model.predict(X[:, :, :5])
    with pytest.raises(InputError, match="15 tokens are no square grid"):
        SemanticTransformer().fit(X[:, :15], Y)
    with pytest.raises(InputError, match="n_samples, n_tokens, n_channels"):
        GaussianFieldCV().fit(X[:, 0], Y)
    X[0, 0, 3] = np.nan
    with pytest.raises(InputError, match="in 1 of 12 columns: 3"):
        FactorisedCV().fit(X, Y)


def test_a_checkpoint_of_other_regions_is_refused(tmp_path):
    X, Y, _ = localised(60)
    options = {"n_dimensions": 16, "n_heads": 2, "max_epochs": 1, "checkpoint": tmp_path / "c.safetensors"}
    regions = np.eye(2, dtype=bool)[np.arange(TARGETS) % 2]
    AttentionRouting(regions, **options).fit(X, Y)
    with pytest.raises(InputError, match="of another model: 'mixture'"):
        AttentionRouting(np.eye(3, dtype=bool)[np.arange(TARGETS) % 3], **options).fit(X, Y)
    with pytest.raises(InputError, match="of other regions, responses or options"):
        AttentionRouting(regions[::-1], **options).fit(X, Y)
    with pytest.raises(InputError, match="Regions are given for 8 targets, the responses have 5"):
        AttentionRouting(regions, **options).fit(X, Y[:, :5])


@pytest.mark.parametrize("fails", [1, 99])
def test_out_of_memory_halves_the_batch_once(monkeypatch, fails):
    X, Y, _ = localised(60)
    sizes = []

    def step(module, x, y, n_rows, *rest):
        sizes.append(n_rows)
        if len(sizes) <= fails:
            raise torch.cuda.OutOfMemoryError
        return real(module, x, y, n_rows, *rest)

    real = training._step
    monkeypatch.setattr(training, "_step", step)
    model = AttentionRouting(n_dimensions=16, n_heads=2, max_epochs=1, batch_size=16)
    if fails > 1:
        with pytest.raises(InputError, match="with batches of 8 too"):
            model.fit(X, Y)
    else:
        model.fit(X, Y)
        assert sizes[:3] == [16, 8, 8]


@parametrize_with_checks([PLS(2)])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)
