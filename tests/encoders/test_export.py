"""Exported encoders: what is called elsewhere says what was said here, and anything else is one line."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import xarray as xr
from PIL import Image

import neuroenc
from neuroenc import splits
from neuroenc.arrays import average_repeats, load, make_features, regions, save
from neuroenc.config import Evaluation, Model, Ridge, Split
from neuroenc.datasets import read_pixels
from neuroenc.encoders import encode, save_fits
from neuroenc.encoders.export import export
from neuroenc.errors import ContractError, InputError
from neuroenc.evaluation import evaluate
from neuroenc.features import describe, extract
from tests.encoders.exports import MODELS, OPTIONS, arguments, read, rewritten, subject
from tests.layouts.hub import serve


def test_a_call_gives_what_the_run_predicted(exported, tested, world):
    pictures, expected = tested
    found = neuroenc.load(exported)(pictures)
    assert found.dims == ("picture", "neuroid")
    np.testing.assert_allclose(found.values, expected, atol=2e-5)
    responses = load(world[0] / "r-01.nc", "responses")
    scores = load(world[0] / "s-01-stack.nc", "scores")
    np.testing.assert_array_equal(found["neuroid_id"].values, responses["neuroid_id"].values)
    np.testing.assert_allclose(found["ceiling"].values, scores["ceiling"].values, rtol=1e-6)
    np.testing.assert_array_equal(found["pearson_r"].values, scores["score"].sel(metric="pearson_r").values)
    for name, mask in regions(responses).items():
        np.testing.assert_array_equal(found[f"roi_{name}"].values, mask)


@pytest.mark.parametrize("fit", OPTIONS)
def test_a_single_encoder_by_the_command_line(run, world, tested, tmp_path, fit):
    folder, _ = world
    status, _, err = run("export", *arguments(folder, "01", fit=fit), "--name", fit, "--out", tmp_path / "e")
    assert status == 0, err
    expected = load(folder / f"p-01-{fit}.nc", "predictions")["prediction"].values
    np.testing.assert_allclose(neuroenc.load(tmp_path / "e")(tested[0]).values, expected, atol=2e-5)
    assert {p.suffix for p in (tmp_path / "e").iterdir()} == {".json", ".md", ".safetensors"}


def test_pictures_are_taken_as_paths_images_and_arrays(exported, tested, tmp_path):
    pictures = np.stack(tested[0][:2])
    encoder = neuroenc.load(exported)
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for path, picture in zip(paths, pictures, strict=True):
        Image.fromarray(picture).save(path)
    expected = encoder(pictures)
    for given in (paths, [str(p) for p in paths], [Image.open(p) for p in paths], list(pictures)):
        np.testing.assert_array_equal(encoder(given).values, expected.values)
    assert encoder(paths)["picture"].values.tolist() == [str(p) for p in paths]
    assert encoder(paths[0]).shape == encoder(pictures[0]).shape == (1, expected.shape[1])


def test_two_subjects_in_one_folder_and_a_choice_of_neuroids(run, world, tested, tmp_path):
    folder, _ = world
    status, _, err = run("export", *arguments(folder, "01", "02"), "--name", "both", "--out", tmp_path / "e")
    assert status == 0, err
    encoder = neuroenc.load(tmp_path / "e")
    n = [load(folder / f"r-{s}.nc", "responses").sizes["neuroid"] for s in ("01", "02")]
    pictures, expected = tested
    whole = encoder(pictures[:3])
    assert whole.shape == (3, sum(n))
    np.testing.assert_allclose(whole.values[:, : n[0]], expected[:3], atol=2e-5)
    second = encoder.select(subject="02")
    np.testing.assert_array_equal(second(pictures[:3]).values, whole.values[:, n[0] :])
    assert set(second.distance(pictures[:3])["subject"].values) == {"02"} and encoder.distance(
        pictures[:3]
    ).shape == (2, 3)
    some = encoder.select(subject="01", region="FFA", ceiling=0.1)
    limit = load(folder / "s-01-stack.nc", "scores")["ceiling"].values
    mask = regions(load(folder / "r-01.nc", "responses"))["FFA"] & (limit >= 0.1)
    np.testing.assert_array_equal(some(pictures[:3]).values, whole.values[:, : n[0]][:, mask])
    assert some.interval(pictures[:3]).shape == (2, 3, mask.sum())
    assert "subject 01, 02" in repr(encoder) and f"{mask.sum()} neuroids" in repr(some)
    for options, message in (({"subject": "03"}, "'subject': '03'. Allowed: '01', '02'"),
                             ({"region": "FFB"}, "'region': 'FFB'.*did you mean 'FFA'"),
                             ({"ceiling": 1.1}, "No neuroid is left of")):  # fmt: skip
        with pytest.raises(InputError, match=message):
            encoder.select(**options)


def test_the_card_says_what_was_measured(exported, world):
    predictions = load(world[0] / "p-01-stack.nc", "predictions")
    n, held = int(predictions["training"].values[0].sum()), predictions.sizes["held"]
    encoder = neuroenc.load(exported)
    facts = json.loads((exported / "encoder.json").read_text())
    (about,) = facts["subjects"]
    assert encoder.card.startswith("---\nlicense: cc-by-4.0\nlibrary_name: neuroenc\n")
    assert f"| 01 | {len(about['neuroid_id'])} | {n} | {held} | {about['r']:.3g} |" in encoder.card
    assert "Of pictures of other kinds they promise nothing" in encoder.card
    assert facts["members"][0]["contract"]["model"] == "gabor/pyramid"
    assert not [t for t in (str(exported.parent), "/tmp") if t in (exported / "encoder.json").read_text()]
    assert np.isfinite(encoder.neuroids["training_low"].values).all()


def test_distances_are_those_of_the_standardised_features(exported, tested, world):
    folder, stimuli = world
    predictions = load(folder / "p-01-stack.nc", "predictions")
    training = predictions["training_stimulus_id"].values[predictions["training"].values[0]]
    row = {s: i for i, s in enumerate(stimuli["stimulus_id"].values)}
    shown = read_pixels(stimuli, np.array([row[s] for s in training]))
    encoder = neuroenc.load(exported)
    assert encoder.distance(shown).values.max() < 0.02  # each is its own neighbour
    found = encoder.distance(tested[0])
    z = []
    for name in OPTIONS:
        values = load(folder / f"f-{name}.nc", "features")
        place = {s: i for i, s in enumerate(values["stimulus_id"].values)}
        values = values["feature"].values.astype(float)
        axes = (0,) if values.ndim == 2 else (0, 1)
        train = values[[place[s] for s in training]]
        scale = train.std(axes)
        values = (values - train.mean(axes)) / np.where(scale > 0, scale, 1)
        flat = values.reshape(len(values), -1)
        z.append(flat / np.sqrt(2 * flat.shape[1]))
    z = np.hstack(z)
    train = z[[place[s] for s in training]]
    new = z[[place[s] for s in predictions["stimulus_id"].values]]
    apart = np.sqrt(((train[:, None] - train) ** 2).sum(2) + np.diag(np.full(len(train), np.inf)))
    expected = np.sqrt(((new[:, None] - train) ** 2).sum(2)).min(1) / np.median(apart.min(1))
    np.testing.assert_allclose(found.values[0], expected, rtol=0.15)
    assert found["farthest"].values[0] == pytest.approx(
        np.quantile(apart.min(1), 0.99) / np.median(apart.min(1)), rel=0.15
    )


def test_pictures_beyond_the_training_pictures(exported, tested):
    strange = np.random.default_rng(0).integers(0, 256, (96, 96, 3), np.uint8)
    pictures = [tested[0][0], strange]
    encoder = neuroenc.load(exported)
    far = encoder.distance(pictures)
    assert far.values[0, 1] > far["farthest"].values[0] > far.values[0, 0]
    with pytest.warns(UserWarning, match=r"1 of 2 pictures lie farther .* first '1' \(distance"):
        warned = encoder(pictures)
    encoder = neuroenc.load(exported, outside="nan")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = encoder(pictures)
        assert np.isnan(encoder.interval(pictures).values[:, 1]).all()
    assert np.isnan(found.values[1]).all()
    np.testing.assert_array_equal(found.values[0], warned.values[0])
    np.testing.assert_allclose(found["distance"].values, far.values[0])
    encoder = neuroenc.load(exported, outside="refuse")
    with pytest.raises(InputError, match=r"first '1' .*Leave them out, or load with outside='warn' or 'nan'"):
        encoder(pictures)
    assert encoder(pictures[:1]).shape[0] == 1
    with pytest.raises(InputError, match=r"'outside': 'ignore'. Allowed: 'warn', 'nan', 'refuse'"):
        neuroenc.load(exported, outside="ignore")


@pytest.mark.parametrize("spec", ["pca:12", "sparse:0.9"])
def test_projected_features_are_projected_alike(run, world, tested, tmp_path, spec):
    folder, stimuli = world
    model = Model(extractor="pixel", projection=spec)
    responses = load(folder / "r-01.nc", "responses")
    split = splits.make(stimuli, Split(kind="dataset", n_inner=4))
    extract(stimuli, model, tmp_path / "f.nc", split=split)
    found = load(tmp_path / "f.nc", "features")
    predictions, fits = encode(responses, found, split, Ridge(alphas=(0, 6, 4)))
    save_fits(fits, found.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
    save(predictions, tmp_path / "p.nc")
    save(
        evaluate(responses, predictions, Evaluation(n_bootstraps=100, n_permutations=100)), tmp_path / "s.nc"
    )
    words = ["export", "--responses", f"01={folder}/r-01.nc", "--predictions", f"01={tmp_path}/p.nc", "--scores",
             f"01={tmp_path}/s.nc", "--weights", f"01:pixel={tmp_path}/w.safetensors", "--features",
             f"pixel={tmp_path}/f.nc", "--model", f"pixel={model.model_dump_json()}", "--name", "p", "--out",
             tmp_path / "e"]  # fmt: skip
    if spec.startswith("pca"):
        status, _, err = run(*words)
        assert (status, err.count("\n")) == (2, 1) and "its components were not given" in err
        words += ["--components", f"pixel={tmp_path}/f.projection.safetensors"]
    status, _, err = run(*words)
    assert status == 0, err
    found = neuroenc.load(tmp_path / "e")(tested[0])
    np.testing.assert_allclose(found.values, predictions["prediction"].values, atol=2e-4)


def test_new_pictures_are_looked_at_alike(world, tested, tmp_path):
    folder, stimuli = world
    model = Model(extractor="pixel", view="foveated")
    responses = load(folder / "r-01.nc", "responses")
    extract(stimuli, model, tmp_path / "f.nc")
    found = load(tmp_path / "f.nc", "features")
    split = splits.make(stimuli, Split(kind="dataset", n_inner=4))
    predictions, fits = encode(responses, found, split, Ridge(alphas=(0, 6, 4)))
    save_fits(fits, found.attrs, responses["neuroid_id"].values, tmp_path / "w.safetensors")
    made = subject(folder, predictions=predictions, weights={"pixel": tmp_path / "w.safetensors"})
    export(tmp_path / "e", [made], {"pixel": model}, {"pixel": found}, name="fovea")
    again = neuroenc.load(tmp_path / "e")(tested[0])
    np.testing.assert_allclose(again.values, predictions["prediction"].values, atol=2e-4)
    rewritten(tmp_path / "e", lambda d: d["members"][0]["model"].pop("view"))
    with pytest.raises(
        ContractError, match=r"network of 'pixel' is not the one that was fitted.*'preprocessing'"
    ):
        neuroenc.load(tmp_path / "e")(tested[0])


def delayed(folder, **changes):
    return subject(folder, fit="gabor", **changes)


def test_what_cannot_be_exported_is_one_line(world, tmp_path):
    folder, _ = world
    features = read(folder)

    def refused(message, subjects, models=MODELS, features=features, **options):
        with pytest.raises(InputError, match=message) as caught:
            export(tmp_path / "e", subjects, models, features, name="e", **options)
        assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())

    refused("'model of a member': 'gabor'", [subject(folder)], models={})
    refused("'features of a member': 'gabor'", [subject(folder)], features={})
    for model, message in (
        (Model(extractor="category"), r"reads no pictures \(category\)"),
        (Model(extractor="file", path="x.npy"), r"reads no pictures \(file\)"),
        (
            Model(extractor="gabor", projection="pca:5"),
            "its components were not given. Give the file FEATURES.projection",
        ),
    ):
        refused(message, [subject(folder)], models=MODELS | {"gabor": model})
    refused("No subjects were given", [])
    refused("'fold': 3. Allowed: '0'", [subject(folder)], fold=3)
    refused(
        "2 encoders were given and predictions of one",
        [subject(folder, predictions=delayed(folder).predictions)],
    )
    refused("The stack mixes '(gabor|cells)', whose weights were not given", [subject(folder, weights={})])
    refused("differ in|neuroids, the", [subject(folder, responses=subject(folder, "02").responses)])
    other = {m: folder / f"w-02-{m}.safetensors" for m in OPTIONS}
    refused("are of other neuroids than the responses", [subject(folder, weights=other)])
    values = features["gabor"]
    changed = make_features(values["feature"].values, stimulus_id=values["stimulus_id"].values, layer=values["layer"].values,
                            attrs=dict(values.attrs) | {"weights": "other"})  # fmt: skip
    refused(
        "disagree with the weights in 'weights'", [subject(folder)], features=features | {"gabor": changed}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: [*a, "--weights", "01gabor"], "'--weights': '01gabor'. Expected SUBJECT:MEMBER=FILE"),
        (lambda a: [*a, "--model", "gabor"], "'--model': 'gabor'. Expected MEMBER=OPTIONS"),
        (lambda a: [w.replace("01=", "02=") if "/s-" in w else w for w in a], "--scores are of the subjects 02, --responses of 01"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_line(run, world, tmp_path, change, message):
    given = change(arguments(world[0], "01"))
    status, _, err = run("export", *given, "--name", "e", "--out", tmp_path / "e")
    assert (status, err.count("\n")) == (2, 1) and message in err
    assert not list(tmp_path.iterdir())


def test_it_needs_no_snakemake(exported, tested, tmp_path):
    Image.fromarray(tested[0][0]).save(tmp_path / "a.png")
    code = (
        "import sys; sys.modules['snakemake'] = None\n"
        f"import neuroenc; print(float(neuroenc.load({str(exported)!r})({str(tmp_path / 'a.png')!r}).mean()))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert float(done.stdout) == pytest.approx(float(tested[1][0].mean()), abs=1e-4)


def test_training_responses_bound_the_range(exported, world):
    responses = load(world[0] / "r-01.nc", "responses")
    ids, mean = average_repeats(responses)
    train = np.isin(ids, responses["stimulus_id"].values[responses["split"].values == "train"])
    found = neuroenc.load(exported).neuroids
    np.testing.assert_allclose(found["training_high"].values, mean[train].max(0), rtol=1e-6)
    np.testing.assert_allclose(found["training_low"].values, mean[train].min(0), rtol=1e-6)
    assert isinstance(found, xr.Dataset)


def asked(code, hub, home, **environment):
    """Run code in a process of its own, whose hub is the one here."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    known |= {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=known | environment, capture_output=True, text=True
    )


def test_an_encoder_goes_to_the_hub_and_comes_back_and_stays(exported, tested, tmp_path):
    Image.fromarray(tested[0][0]).save(tmp_path / "a.png")
    push = f"import neuroenc; print(neuroenc.load({str(exported)!r}).push_to_hub('me/stack'))"
    call = f"import neuroenc; print(float(neuroenc.load('hub:me/stack')({str(tmp_path / 'a.png')!r}).mean()))"
    one_line = (
        "import neuroenc\ntry: neuroenc.load('hub:{}')\nexcept neuroenc.errors.InputError as e: print(e)"
    )
    with serve() as hub:
        done = asked(push, hub, tmp_path / "one", HF_TOKEN="hf_right")
        assert done.stdout.splitlines()[-1:] == [f"{hub.url}/me/stack"], done.stdout + done.stderr
        held = hub.repositories["me/stack"]
        assert {p.name: p.read_bytes() for p in exported.iterdir()} == {
            k: v for k, v in held.items() if k != ".gitattributes"
        }
        done = asked(call, hub, tmp_path / "two")
        assert float(done.stdout) == pytest.approx(float(tested[1][0].mean()), abs=1e-4), done.stderr
        n = len(hub.seen)
        done = asked(call, hub, tmp_path / "two", HF_HUB_OFFLINE="1")
        assert float(done.stdout) == pytest.approx(float(tested[1][0].mean()), abs=1e-4), done.stderr
        assert len(hub.seen) == n
        for name, message in (
            ("me/nothing", "Cannot fetch 'me/nothing'"),
            ("nothing", "'nothing' is no name on the hub"),
        ):
            done = asked(one_line.format(name), hub, tmp_path / "two")
            assert message in done.stdout and done.stdout.count("\n") == 1, done.stdout + done.stderr
        failed = push.replace("print(", "print(", 1).replace("import neuroenc; ", "import neuroenc\ntry: ")
        done = asked(
            f"{failed}\nexcept neuroenc.errors.InputError as e: print(e)",
            hub,
            tmp_path / "one",
            HF_TOKEN="hf_wrong",
        )
        assert "Cannot upload to 'me/stack'" in done.stdout and done.stdout.count("\n") == 1, (
            done.stdout + done.stderr
        )
    done = asked(call, hub, tmp_path / "two")  # the hub is gone
    assert float(done.stdout) == pytest.approx(float(tested[1][0].mean()), abs=1e-4), done.stderr


def test_pictures_at_hand_are_described_as_the_files_were(world):
    folder, stimuli = world
    found = describe(read_pixels(stimuli, np.arange(2)), MODELS["gabor"])
    np.testing.assert_allclose(
        found["feature"].values, load(folder / "f-gabor.nc", "features")["feature"].values[:2], atol=1e-5
    )
