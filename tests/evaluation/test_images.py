import numpy as np
import pytest
import torch
from scipy.spatial.distance import correlation
from torchmetrics.functional.image import structural_similarity_index_measure as reference

from neuroenc.errors import InputError
from neuroenc.evaluation import images

RNG = np.random.default_rng(0)
SEEN = RNG.integers(0, 256, (4, 425, 425, 3), dtype=np.uint8)
SMOOTH = np.stack([np.outer(np.linspace(0, 250, 425), np.ones(425)) * f for f in (1, 0.5, 0.2, 0.9)])
SMOOTH = np.repeat(SMOOTH[..., None], 3, -1).astype(np.uint8)


def test_pixcorr_is_pearsons_r():
    made = np.clip(0.5 * SEEN + 0.5 * RNG.integers(0, 256, SEEN.shape), 0, 255).astype(np.uint8)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(SEEN, made, strict=True)]
    np.testing.assert_allclose(images.pixcorr(SEEN, made), expected, atol=1e-6)
    assert images.pixcorr(SMOOTH, SMOOTH[:, ::2, ::2]).min() > 0.99  # another size
    np.testing.assert_allclose(images.pixcorr(SEEN, np.full_like(SEEN, 9)), 0, atol=1e-9)


@pytest.mark.parametrize("seen", [SEEN, SMOOTH])
def test_ssim_is_torchmetrics(seen):
    made = np.clip(seen.astype(int) + RNG.integers(-60, 60, seen.shape), 0, 255).astype(np.uint8)
    grey = [np.stack([images._resized(p, "L") / 255 for p in v]) for v in (seen, made)]
    expected = reference(
        *(torch.from_numpy(v)[:, None] for v in grey), sigma=1.5, gaussian_kernel=True, kernel_size=11, data_range=1.0,
        reduction="none",
    )  # fmt: skip
    np.testing.assert_allclose(images.ssim(seen, made), expected.numpy(), atol=2e-3)
    np.testing.assert_allclose(images.ssim(seen, seen), 1)


def test_two_definitions_of_two_way_differ_for_a_hub():
    seen = RNG.normal(size=(30, 50))
    made = seen + 2 * RNG.normal(size=(30, 50))
    made[0] = seen.mean(0)  # a hub: like every picture a little
    r = np.corrcoef(seen, made)[:30, 30:]
    by_image = [np.mean([r[j, i] < r[i, i] for j in range(30) if j != i]) for i in range(30)]
    by_made = [np.mean([r[i, j] < r[i, i] for j in range(30) if j != i]) for i in range(30)]
    np.testing.assert_allclose(images.two_way(seen, made), by_image)
    np.testing.assert_allclose(images.two_way(seen, made, distractor="reconstructions"), by_made)
    assert by_image != by_made


def test_chance_of_two_way_and_the_distance():
    seen, made = RNG.normal(size=(2, 300, 40))
    assert images.two_way(seen, made).mean() == pytest.approx(0.5, abs=0.05)
    assert images.two_way(seen, seen).mean() == 1
    expected = [correlation(a, b) for a, b in zip(seen, made, strict=True)]
    np.testing.assert_allclose(images.correlation_distance(seen, made), expected, atol=1e-9)


def test_mistakes_are_one_helpful_line():
    with pytest.raises(InputError, match=r"seen pictures are float64 of shape \(4, 425, 425, 3\)"):
        images.ssim(SEEN / 255, SEEN)
    with pytest.raises(InputError, match="4 pictures were seen, 3 reconstructed"):
        images.pixcorr(SEEN, SEEN[:3])
    with pytest.raises(InputError, match=r"shapes \(1, 5\) and \(1, 5\)"):
        images.two_way(np.ones((1, 5)), np.ones((1, 5)))


def test_features_that_are_no_numbers_are_refused():
    features = np.random.default_rng(0).normal(size=(4, 6))
    lost = features.copy()
    lost[1, 2] = np.nan
    for of in (images.two_way, images.correlation_distance):
        with pytest.raises(InputError, match="values that are not finite"):
            of(features, lost)


def test_frechet_distance_is_that_of_torchmetrics():
    import torch
    from torchmetrics.image.fid import _compute_fid

    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(200, 12)) @ rng.normal(size=(12, 12)), rng.normal(size=(150, 12)) + 0.5
    moments = [torch.from_numpy(v) for x in (a, b) for v in (x.mean(0), np.cov(x.T))]
    assert images.frechet_distance(a, b) == pytest.approx(float(_compute_fid(*moments)), rel=1e-6)
    assert images.frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_conditions_are_compared_as_one_after_the_other():
    made = np.stack([SEEN[::-1], SEEN, np.full_like(SEEN, 9)])
    for of in (images.pixcorr, images.ssim):
        np.testing.assert_array_equal(of(SEEN, made), [of(SEEN, m) for m in made])
        assert of(SEEN[:0], made[:, :0]).shape == (3, 0)


@pytest.mark.parametrize(("network", "layer"), [("alexnet", "features.4"), ("alexnet", "features.11")])
def test_a_judge_sees_all_units_of_the_layer_of_the_literature(network, layer):
    """A random network of the same class, against torchvision's own forward pass."""
    import torchvision

    from neuroenc.config import Model
    from neuroenc.evaluation.decoded import _layers
    from neuroenc.features.extract import describer

    pictures = list(np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8))
    model = Model(network=network, layers=[layer], pooling="tokens", weights="random:0")
    found = _layers(describer(model)(pictures))[layer]
    at = int(layer.rpartition(".")[2])
    whole = torchvision.models.alexnet(weights=None).features[: at + 1]
    assert isinstance(whole[at], torch.nn.ReLU) and isinstance(whole[at - 1], torch.nn.Conv2d)
    shape = whole(torch.zeros(1, 3, 224, 224)).shape
    assert found.shape == (3, shape[1:].numel()) and found.min() == 0
    assert images.two_way(found, found).mean() == 1


def test_features_that_make_no_distance_are_refused():
    a = np.random.default_rng(0).normal(size=(9, 3))
    for wrong in (a[:1], a[:, :2], np.where(a > 1, np.nan, a)):
        with pytest.raises(InputError):
            images.frechet_distance(a, wrong)
    with pytest.raises(InputError, match="did you mean 'images'"):
        images.two_way(a, a, distractor="image")
