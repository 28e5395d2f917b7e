"""A network of one's own: the function is called only where the environment allows it, and layers go by name."""

import importlib
import json
import linecache
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from neuroenc.arrays import make_stimuli, save
from neuroenc.config import Model, parse
from neuroenc.errors import InputError, NeuroencError
from neuroenc.features.extract import describe
from neuroenc.features.networks import describe_layers

CODE = """
import torch
from torchvision import transforms

def net():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, 2), torch.nn.ReLU(), torch.nn.BatchNorm2d(4),
                              torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(4, 3))
    return net, transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])

class Registers(torch.nn.Module):
    def __init__(self, last):
        super().__init__()
        torch.manual_seed(0)
        self.patch, self.more = torch.nn.Conv2d(3, 8, 8, 8), torch.nn.Parameter(torch.randn(1, 3, 8))
        self.join, self.mix = torch.nn.Identity(), torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = last

    def forward(self, pictures):
        tokens = self.patch(pictures).flatten(2).transpose(1, 2)
        both = [tokens, self.more.expand(len(tokens), -1, -1)]
        return self.mix(self.join(torch.cat(both if self.last else both[::-1], 1)))

class State(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.out, self.before = torch.nn.Conv2d(3, 4, 5), torch.nn.Identity(), 0

    def forward(self, pictures):
        self.before = self.layer(pictures).mean() + self.before / 2
        return self.out(self.layer(pictures) + self.before)

def state(): return State(), net()[1]
def batch_statistics():
    norm = torch.nn.BatchNorm2d(4, track_running_stats=False)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5), norm, torch.nn.Identity()), net()[1]
def crops(): return net()[0], transforms.Compose([transforms.RandomResizedCrop(32), transforms.ToTensor()])
def breaks():
    class Small(torch.nn.Conv2d):
        def forward(self, pictures):
            if len(pictures) == 1:
                raise RuntimeError("I want two")
            return super().forward(pictures)
    return torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity(), Small(3, 4, 5)), net()[1]

def first(): return Registers(False), net()[1]
def last(): return Registers(True), net()[1]
def alone(): return net()[0]
def text(): return net()[0], "resize"
def fails(): raise ValueError("no such file")
def numpy_transform():
    import numpy
    return net()[0], numpy.asarray
def empty(): return torch.nn.ReLU(), net()[1]
"""
PICTURES = list(np.random.default_rng(0).integers(0, 255, (5, 48, 40, 3), np.uint8))


@pytest.fixture
def package(tmp_path, monkeypatch):
    (tmp_path / "my_nets.py").write_text(textwrap.dedent(CODE))
    (tmp_path / "broken_nets.py").write_text("raise RuntimeError('half a file')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NEUROENC_ALLOW_CODE", "1")
    yield
    for name in ("my_nets", "broken_nets"):
        sys.modules.pop(name, None)


def own(function="net", **options):
    return parse(Model, {"extractor": "module", "module": f"my_nets:{function}", "layers": ["2"], **options})


def test_layers_are_those_of_the_module_in_eval_mode(package):
    import my_nets

    found = describe(PICTURES, own(pooling="tokens"))
    net, transform = my_nets.net()
    with torch.no_grad():
        expected = net.eval()[:3](torch.stack([transform(Image.fromarray(p)) for p in PICTURES]))
    expected = expected.flatten(2).transpose(1, 2).numpy()  # (pictures, tokens, channels)
    np.testing.assert_allclose(found["feature"].values, expected, atol=1e-6)
    pooled = describe(PICTURES, own(layers=["0", "5"]))
    assert pooled["feature"].shape == (5, 4 + 3)
    assert found.attrs["model"] == "module/my_nets:net" and found.attrs["weights"].startswith("state:")
    assert found.attrs["weights"] == pooled.attrs["weights"]
    assert "Resize" in found.attrs["preprocessing"] and "0x" not in found.attrs["preprocessing"]
    assert describe_layers(own())["0"] == ("Conv2d", "4 x 14 x 14")


def test_it_is_extracted_as_other_networks_are(package, run, tmp_path):
    for number, picture in enumerate(PICTURES):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    names = np.array([f"{i}.png" for i in range(5)])
    columns = {"stimulus_id": names, "file": names, "split": np.full(5, "train"), "group": names,
               "pixel_index": np.arange(5)}  # fmt: skip
    save(make_stimuli(columns, attrs={"dataset": "toy", "pixels": str(tmp_path)}), tmp_path / "s.nc")
    options = json.dumps({"extractor": "module", "module": "my_nets:net", "layers": ["2"]})
    status, _, err = run("features", "extract", "--stimuli", tmp_path / "s.nc", "--options", options, "--out",
                         tmp_path / "f.nc")  # fmt: skip
    assert status == 0, err
    from neuroenc.arrays import load

    found, expected = load(tmp_path / "f.nc", "features"), describe(PICTURES, own())
    np.testing.assert_allclose(found["feature"].values, expected["feature"].values, atol=1e-6)
    assert {k: v for k, v in found.attrs.items() if k != "kind"} == {
        k: v for k, v in expected.attrs.items() if k != "kind"
    }


@pytest.mark.parametrize("value", [None, "0", "true"])
def test_without_leave_no_code_is_run(run, package, tmp_path, monkeypatch, value):
    monkeypatch.delenv("NEUROENC_ALLOW_CODE")
    if value is not None:
        monkeypatch.setenv("NEUROENC_ALLOW_CODE", value)
    (tmp_path / "my_nets.py").write_text(f"open({str(tmp_path / 'run')!r}, 'w')\n{CODE}")
    status, out, err = run("features", "show", json.dumps(
        {"extractor": "module", "module": "my_nets:net", "layers": ["2"]}
    ))  # fmt: skip
    assert (status, out, err.count("\n")) == (2, "", 1) and "NEUROENC_ALLOW_CODE=1" in err
    (tmp_path / "c.yaml").write_text(json.dumps({
        "label": "a", "dataset": {"name": "nsd"}, "subjects": ["01"],
        "models": {"own": {"extractor": "module", "module": "my_nets:net", "layers": ["2"]}},
    }))  # fmt: skip
    status, out, err = run("config", "check", tmp_path / "c.yaml")
    assert (status, out, err.count("\n")) == (2, "", 1) and "NEUROENC_ALLOW_CODE=1" in err
    assert not (tmp_path / "run").exists() and "my_nets" not in sys.modules


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module": "my_nets:nut"}, "'my_nets' has no function 'nut'"),
        ({"module": "my_nots:net"}, "Cannot import 'my_nots' of my_nots:net: ModuleNotFoundError"),
        ({"module": "broken_nets:net"}, "Importing 'broken_nets' fails: RuntimeError: half a file"),
        ({"module": "my_nets:fails"}, "my_nets:fails fails: ValueError: no such file"),
        ({"module": "my_nets:alone"}, r"returned Sequential, expected \(torch.nn.Module, transform\)"),
        ({"module": "my_nets:text"}, "The transform of my_nets:text fails: TypeError"),
        ({"module": "my_nets:numpy_transform"}, r"gives ndarray of shape \(256, 256, 3\), expected a tensor"),
        ({"module": "my_nets:empty"}, "has no parameters"),
        ({"layers": ["9"]}, "'layer': '9'. Allowed: '0'"),
        ({"layers": []}, "No layers named for 'my_nets:net'"),
    ],
)
def test_what_a_function_does_wrong_is_one_line(package, options, message):
    with pytest.raises(InputError, match=message) as caught:
        describe(PICTURES, own(**options))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"module": "my_nets"}, "'module': 'my_nets'"),
        ({"module": "my_nets:net()"}, "'module'"),
        ({"module": "os;x:net"}, "'module'"),
        ({"module": None}, "`extractor: module` and `module` belong together"),
        ({"extractor": "timm", "network": "resnet18"}, "`extractor: module` and `module` belong together"),
        ({"weights": "random:0"}, "`weights` is not for `extractor: module`"),
    ],
)
def test_wrong_options_are_one_line(options, message):
    with pytest.raises(InputError, match=message):
        own(**options)


def test_pictures_that_stay_of_several_sizes_run_apart(package, monkeypatch):
    import my_nets

    def kept():
        return my_nets.net()[0], transforms.ToTensor()

    monkeypatch.setattr(my_nets, "kept", kept, raising=False)
    several = [PICTURES[0], PICTURES[1][:40], PICTURES[2]]
    found = describe(several, own("kept"))["feature"].values
    for k, picture in enumerate(several):
        np.testing.assert_allclose(found[k], describe([picture], own("kept"))["feature"].values[0], atol=1e-6)


def test_tokens_that_stand_for_no_place_are_left_out_where_they_lead_alone(package):
    """Where they come last, as YOLOS and some registers do, the first patches were left out in their stead."""
    import my_nets

    net, transform = my_nets.first()
    with torch.no_grad():
        tokens = net.eval()(torch.stack([transform(Image.fromarray(p)) for p in PICTURES]))
    found = describe(PICTURES, own("first", layers=["mix"], pooling="mean"))["feature"].values
    np.testing.assert_allclose(found, tokens[:, 3:].mean(1), atol=1e-5)
    for pooling in ("mean", "grid:2"):
        with pytest.raises(
            InputError, match=r"3 of the 19 tokens of layer 'mix' stand for no place, and not all"
        ):
            describe(PICTURES, own("last", layers=["mix"], pooling=pooling))
    assert describe(PICTURES, own("last", layers=["mix"], pooling="tokens"))["feature"].shape == (5, 19, 8)


@pytest.mark.parametrize(
    ("function", "layer", "message"),
    [
        (
            "batch_statistics",
            "2",
            r"Layer '2' of my_nets:batch_statistics gives a picture other values beside",
        ),
        ("state", "out", r"Layer 'out' of my_nets:state gives a picture other values beside or after others"),
        ("crops", "2", r"The transform of my_nets:crops makes other tensors of the same picture each time"),
        ("breaks", "2", r"'my_nets:breaks' fails on image 1 x 3 x 32 x 32: RuntimeError: I want two"),
    ],
)
def test_features_of_a_picture_are_of_it_alone(package, function, layer, message):
    with pytest.raises(NeuroencError, match=message):
        describe(PICTURES, own(function, layers=[layer]))


def test_other_code_of_the_same_name_is_another_contract(package, tmp_path):
    """Blocks of features that a killed run left are gone on from by the same contract alone."""

    def contract(function):
        for name in [n for n in sys.modules if n == "my_nets"]:
            del sys.modules[name]
        return describe(PICTURES, own(function, layers=["mix" if function == "first" else "2"])).attrs

    before, plain = contract("first"), contract("net")
    code = (tmp_path / "my_nets.py").read_text()
    (tmp_path / "my_nets.py").write_text(
        code.replace("return self.mix(self.join(", "return self.mix(2 * self.join(")
    )
    linecache.clearcache()
    importlib.invalidate_caches()
    assert contract("first")["weights"] == before["weights"]
    assert contract("first")["preprocessing"] != before["preprocessing"]
    assert contract("net") == plain and "code" not in plain["preprocessing"]
