import json

import numpy as np
import pytest

from neuroenc import arrays
from neuroenc.arrays import same_contract
from neuroenc.checks import check
from neuroenc.config import Config, Model
from neuroenc.errors import ContractError, InputError
from neuroenc.features import describe, foveation
from neuroenc.features.foveation import foveate


def grating(height, width, period, angle=0.0):
    rows, columns = np.mgrid[:height, :width]
    along = columns * np.cos(angle) + rows * np.sin(angle)
    return (127.5 + 100 * np.sin(2 * np.pi * along / period))[..., None].repeat(3, 2).round().astype(np.uint8)


def contrast(picture, shown):
    """Share of the contrast that was shown in rings of eccentricity, 0.05 of the shorter side wide."""
    side = min(picture.shape[:2])
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]]
    r = np.hypot(rows - (picture.shape[0] - 1) / 2, columns - (picture.shape[1] - 1) / 2) / side
    ring = (r / 0.05).astype(int)
    return np.array(
        [picture[ring == k, 0].std() / shown[ring == k, 0].std() for k in range(9)]
    )  # the next touches the edge


@pytest.mark.parametrize("angle", [0, np.pi / 2, 0.7])
def test_a_grating_survives_at_the_fovea_and_fades_outside(angle):
    shown = grating(256, 256, 8, angle)
    left = contrast(foveate(shown), shown)
    assert left[0] > 0.75 and left[-1] < 0.1
    assert (np.diff(left) < 0).all()
    a = foveation.FOVEA
    middle = np.arange(9) * 0.05 + 0.025
    sigma = (1 + middle / a) / 2  # px of 256
    np.testing.assert_allclose(left, np.exp(-2 * (np.pi * sigma / 8) ** 2), atol=0.2)


def test_coarse_gratings_and_even_pictures_stay():
    shown = grating(256, 256, 64)
    assert contrast(foveate(shown), shown).min() > 0.9
    even = np.full((90, 70, 3), 93, np.uint8)
    np.testing.assert_array_equal(foveate(even), even)


def test_eccentricity_is_a_share_of_the_picture():
    shown = grating(256, 256, 8)
    small, large = (contrast(foveate(grating(side, side, side / 32)), shown) for side in (256, 512))
    np.testing.assert_allclose(small, large, atol=0.08)
    wide = foveate(grating(200, 300, 200 / 32))
    assert wide.shape == (200, 300, 3) and foveate(grating(512, 768, 8)).shape == (256, 384, 3)
    assert wide[:, :30].std() < 0.1 * wide[90:110, 140:160].std()


def test_view_is_part_of_the_contract_and_reaches_the_features():
    pictures = [grating(256, 256, 12, angle) for angle in (0.3, 0.9)]
    plain, seen = (
        describe(pictures, Model(extractor="gabor", pooling="grid:4", view=view))
        for view in (None, "foveated")
    )
    assert foveation.DESCRIPTION in seen.attrs["preprocessing"]
    with pytest.raises(ContractError, match="preprocessing"):
        same_contract(seen.attrs, plain.attrs)
    left = seen["feature"].values.sum(2) / plain["feature"].values.sum(2)
    left = left.reshape(2, 4, 4)
    assert left[:, 1:3, 1:3].min() > 1.5 * left[:, [0, 0, 3, 3], [0, 3, 0, 3]].max()


def test_networks_see_the_foveated_picture():
    pictures = [grating(96, 96, 6), grating(96, 96, 6, 1.0)]
    nano = {"extractor": "open_clip", "network": "nano", "layers": ["visual"]}
    seen = describe(pictures, Model(**nano, view="foveated"))["feature"].values
    shown = describe([foveate(p) for p in pictures], Model(**nano))["feature"].values
    np.testing.assert_array_equal(seen, shown)
    assert not np.array_equal(seen, describe(pictures, Model(**nano))["feature"].values)


def test_refusals(toy, tmp_path, run):
    with pytest.raises(ValueError, match="`view` is of pictures, and mel reads none"):
        Model(extractor="mel", view="foveated")
    with pytest.raises(InputError, match="of pictures alone, and 'nano-text' reads text"):
        describe(["a cat"], Model(network="nano-text", view="foveated"))
    arrays.save(toy[0], tmp_path / "s.nc")
    options = json.dumps({"network": "category", "view": "foveated"})
    status, _, err = run(
        "features",
        "extract",
        "--stimuli",
        tmp_path / "s.nc",
        "--options",
        options,
        "--out",
        tmp_path / "f.nc",
    )
    assert status == 2 and len(err.splitlines()) == 1 and "'category' reads none" in err
    assert not (tmp_path / "f.nc").exists()
    config = Config.model_validate({
        "label": "x", "dataset": {"name": "v4", "root": "x"}, "subjects": ["1"], "split": {"kind": "stimulus"},
        "models": {"words": {"network": "caption", "view": "foveated"}},
    })  # fmt: skip
    with pytest.raises(InputError, match=r"models.words.view.*reads no pictures"):
        check(config)
