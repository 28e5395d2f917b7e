import subprocess
import sys
from pathlib import Path

import pytest

from neuroenc import __version__
from neuroenc.arrays import save
from neuroenc.cli import common
from neuroenc.errors import InputError
from neuroenc.figures.summary import summarise
from tests.evaluation.test_effects import subject


def test_import_and_help_load_little():
    """They stay quick (`python benchmarks/imports.py` times them) as long as these stay out."""
    heavy = {"numpy", "pandas", "xarray", "scipy", "sklearn", "h5py", "nibabel", "matplotlib", "torch"}
    for code in (
        "import neuroenc",
        "from neuroenc import cli; sys.argv = ['neuroenc', '--help']; cli.main()",
    ):
        code = f"import sys, atexit; atexit.register(lambda: print(*sys.modules, sep=' ')); {code}"
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        loaded = set(done.stdout.splitlines()[-1].split())
        assert "neuroenc" in loaded and not heavy & loaded


def test_the_library_imports_neither_torch_nor_snakemake_before_it_must():
    code = (
        "import sys, neuroenc.cli, neuroenc.evaluation.evaluate, neuroenc.encoders.encode, neuroenc.splits\n"
        "assert not {'torch', 'snakemake', 'diffusers'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_several_commands_run_in_one_process_until_one_fails(run):
    status, out, _ = run("--version", "--then", "config", "schema", "--then", "--version")
    assert status == 0 and out.startswith(f"{__version__}\n{{") and out.endswith(f"}}\n{__version__}\n")
    status, out, err = run("--version", "--then", "config", "check", "/no.yaml", "--then", "--version")
    assert (status, out) == (2, f"{__version__}\n") and err.count("\n") == 1 and "/no.yaml" in err
    assert run("config", "unknown", "--then", "--version")[:2] == (2, "")


def test_version_and_help(run):
    assert run("--version")[:2] == (0, f"{__version__}\n")
    status, out, _ = run("features", "--help")
    assert status == 0 and "extract" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["split", "make", "--stimuli", "no.nc", "--options", "{}", "--out", "x.nc"],
            "File not found: no.nc",
        ),
        (["features", "show", '{"extractor": "tim"}'], "did you mean 'timm'"),
        (["features", "show", '{"extractr": "timm"}'], "did you mean 'extractor'"),
        (["features", "show", "{"], "not JSON"),
        (
            ["data", "check", "--options", "config.yaml#datset", "--subject", "1"],
            "File not found: config.yaml",
        ),
        (["data", "show", "hxby"], "'haxby'"),
        (["config", "check", "no.yaml"], "File not found: no.yaml"),
        (["results", "show", "no.json"], "File not found: no.json"),
        (["simulate", "x", "--n-shared", "121"], "do not divide"),
        (["simulate", "x", "--picture-size", "50"], "picture_size"),
        (["simulate", "x", "--layout", "ns"], "'nsd'"),
    ],
)
def test_mistakes_are_one_line_with_status_2(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err and len(err.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--comparison", "01:x=c.nc", "--comparison", "01:x=c.nc"], "--comparison gives '01:x' twice"),
        (["--comparison", "01:x=c.nc", "--comparison", "all:x=c.nc"], "all subjects together go by 'all'"),
        (["--comparison", "01:x=c.nc", "--comparison", "02:x=d.nc"], "Subjects were compared in other fits"),
        (["--comparison", "=c.nc"], "Expected NAME=FILE.nc"),
        (["--comparison", "01:x=c.nc", "--figure", "x=f.png", "--figure", "y=g.png"], "LABEL one of ['x']"),
        (["--comparison", "01:x=c.nc", "--figure", "x="], "found 'x='"),
        (["--comparison", "01:x=c.nc", "--figure", "x=f.xyz"], "'xyz' is no format of figures"),
        (["--comparison", "01:x=c.nc", "--table", ""], "names no file"),
    ],
)
def test_comparisons_that_cannot_be_shown_are_one_line(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    one = subject(0, 0.3, shared=True)
    save(one, "c.nc")
    save(one.assign_coords(rival_name=("rival", ["c"])), "d.nc")
    status, _, err = run("results", "comparisons", "--table", "t.csv", *arguments)
    assert status == 2 and message in err and len(err.splitlines()) == 1, err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.nc", "d.nc"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["zones", "--partition", "x", "--table", "t.csv"], "'--partition': 'x'. Expected NAME=FILE.nc"),
        (["contributions", "--scores", "a="], "'--scores': 'a='. Expected NAME=FILE.json"),
        (["contributions", "--scores", "a=b", "--scores", "a=c"], "--scores gives 'a' twice"),
    ],
)
def test_files_by_name_are_named_by_their_option(run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = run("results", *arguments, "--out", "f.png")
    assert status == 2 and message in err and len(err.splitlines()) == 1, err
    assert list(tmp_path.iterdir()) == []


def test_a_simulation_does_not_replace_recordings(run, tmp_path):
    (tmp_path / "treebank").mkdir()
    (tmp_path / "treebank/sub_1_trial000.h5").write_bytes(b"hours")
    for name in ("treebank", "treebank/sub_1_trial000.h5"):
        for layout in ("treebank", "nsd"):
            status, _, err = run("simulate", tmp_path / name, "--layout", layout)
            assert status == 2 and "no simulated tree" in err and len(err.splitlines()) == 1
    assert (tmp_path / "treebank/sub_1_trial000.h5").read_bytes() == b"hours"


def test_section_of_a_file_and_its_nearest_name(run, tmp_path, real):
    (tmp_path / "c.yaml").write_text("dataset: {name: haxby}\n")
    status, out, err = run("data", "check", "--options", f"{tmp_path}/c.yaml#dataset", "--root", real / "haxby",
                           "--subject", "1")  # fmt: skip
    assert status == 0 and "1452 volumes" in out, err
    status, _, err = run("data", "check", "--options", f"{tmp_path}/c.yaml#datset", "--subject", "1")
    assert status == 2 and "did you mean 'dataset'" in err


def test_what_a_dataset_is(run):
    status, out, _ = run("data", "show", "haxby")
    assert status == 0 and "CC-BY-SA" in out


def test_unwritable_folder(run, toy, tmp_path):
    save(toy[0], tmp_path / "s.nc")
    (tmp_path / "file").write_text("")
    status, _, err = run(
        "split", "make", "--stimuli", tmp_path / "s.nc", "--options", '{"kind": "stimulus"}',
        "--out", tmp_path / "file/split.nc",
    )  # fmt: skip
    assert status == 2 and err.startswith("neuroenc: Cannot write") and len(err.splitlines()) == 1


def test_stimuli_of_another_dataset_and_leaks(run, toy, tmp_path):
    stimuli, features, responses = toy
    renamed = responses.assign_coords(
        stimulus_id=("presentation", [f"q{i}" for i in range(120)]),
    )
    for name, dataset in (("s", stimuli), ("f", features), ("r", responses), ("other", renamed)):
        save(dataset, tmp_path / f"{name}.nc")
    run("split", "make", "--stimuli", tmp_path / "s.nc", "--options", '{"kind": "stimulus"}', "--out",
        tmp_path / "split.nc")  # fmt: skip

    def fit(responses, split="split"):
        return run(
            "encode", "fit", "--responses", tmp_path / f"{responses}.nc", "--features", tmp_path / "f.nc",
            "--split", tmp_path / f"{split}.nc", "--options", "{}", "--out", tmp_path / "p.nc",
            "--weights", tmp_path / "w.safetensors",
        )  # fmt: skip

    status, _, err = fit("other")
    assert status == 2 and "120 stimuli of the responses are not in the split, first 'q0'" in err
    from neuroenc.arrays import load

    leaky = load(tmp_path / "split.nc", "splits")
    ids = leaky["stimulus_id"].values.copy()
    train, test = (int((leaky["side"].values[0] == s).argmax()) for s in (0, 1))
    ids[test] = ids[train]  # one picture, once in training and once in the test set
    save(leaky.assign_coords(stimulus_id=("stimulus", ids)), tmp_path / "leaky.nc")
    status, _, err = fit("r", "leaky")
    assert status == 2 and "stimuli on both sides of the split: 1" in err
    assert not (tmp_path / "p.nc").exists() and not (tmp_path / "w.safetensors").exists()
    assert fit("r")[0] == 0


@pytest.mark.parametrize(("table", "says"), [("show", "top-1, by correlation"), ("pictures", "PixCorr")])
def test_the_tables_of_a_run_are_printed(run, table, says):
    """Of the demo's own summary: some of its rows are of no subject."""
    status, out, err = run("results", table, Path(__file__).parents[1] / "benchmarks/results/demo.json")
    assert status == 0, err
    assert says in out


@pytest.mark.parametrize("table", ["show", "pictures"])
@pytest.mark.parametrize("of", ["ridge", "studies", "nsd"])
def test_tables_of_benchmarks_are_no_run(run, table, of):
    status, out, err = run("results", table, Path(__file__).parents[1] / f"benchmarks/results/{of}.json")
    assert status == 2 and not out and err.count("\n") == 1, err


def test_a_stack_of_strangers_is_refused(run, toy, tmp_path):
    stimuli, features, responses = toy
    for name, dataset in (("s", stimuli), ("f", features), ("r", responses)):
        save(dataset, tmp_path / f"{name}.nc")
    run("split", "make", "--stimuli", tmp_path / "s.nc", "--options", '{"kind": "stimulus"}', "--out",
        tmp_path / "split.nc")  # fmt: skip
    status, _, err = run(
        "encode", "fit", "--responses", tmp_path / "r.nc", "--features", tmp_path / "f.nc", "--split",
        tmp_path / "split.nc", "--options", '{"alphas": [0, 3, 4]}', "--out", tmp_path / "p.nc",
        "--weights", tmp_path / "w.safetensors",
    )  # fmt: skip
    assert status == 0, err

    def stack(*options):
        return run("encode", "stack", "--responses", tmp_path / "r.nc", "--predictions",
                   f"first={tmp_path / 'p.nc'}", *options, "--out", tmp_path / "stack.nc")  # fmt: skip

    status, _, err = stack("--options", '{"members": ["firsts"]}')
    assert status == 2 and err.count("\n") == 1 and "did you mean 'first'" in err
    assert stack()[0] == 0
    status, _, err = run("encode", "predict", "--weights", tmp_path / "w.safetensors", "--features",
                         tmp_path / "f.nc", "--out", tmp_path / "new.nc", "--fold", 3)  # fmt: skip
    assert status == 2 and "No models of fold 3" in err and not (tmp_path / "new.nc").exists()
    status, _, err = run("encode", "fit", "--responses", tmp_path / "r.nc", "--features", tmp_path / "f.nc",
                         "--split", tmp_path / "split.nc", "--options", '{"name": "attenton"}', "--out",
                         tmp_path / "q.nc", "--weights", tmp_path / "q.safetensors")  # fmt: skip
    assert status == 2 and err.count("\n") == 1 and "attenton" in err


def test_a_package_that_is_not_here_is_named_with_its_extra(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wordcloud", None)
    (tmp_path / "words.csv").write_text("region,n_voxels,kind,word,share,low,high\nV1,3,word,cat,1,1,1\n")
    status, _, err = run("results", "words", "--regions", tmp_path / "words.csv", "--out", tmp_path / "w.png")
    assert status == 2
    assert err.count("\n") == 1
    assert "needs the package 'wordcloud'" in err
    assert 'pip install "neuroenc[generation]"' in err


@pytest.mark.parametrize(
    "command",
    [
        ("results", "classes", "--scores={}", "--out=x.png"),
        ("results", "show", "{}"),
    ],
)
def test_scores_of_another_command_are_one_line(command, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "other.json").write_text('{"label": "a", "scores": {}}')
    status, _, err = run(*(c.format(tmp_path / "other.json") for c in command))
    assert status == 2 and len(err.strip().splitlines()) == 1
    assert "has no key" in err and [p.name for p in tmp_path.iterdir()] == ["other.json"]


def test_scores_of_another_command_are_not_summed_up(tmp_path):
    (tmp_path / "other.json").write_text('{"label": "a", "scores": {}, "rows": [{"value": 1}]}')
    other = tmp_path / "other.json"
    for take in (
        lambda: common.retrieved([f"01:a={other}"]),
        lambda: common.retrieved([f"01:a={other}"], "--classification", common.CLASSES),
        lambda: common.reconstructed([f"01={other}"]),
        lambda: summarise({}, label="a", command="b", seed=0, out=tmp_path / "s.json",
                          table=tmp_path / "t.parquet", page=tmp_path / "p.html", grade=other),
    ):  # fmt: skip
        with pytest.raises(
            InputError, match=r"other.json has no key '\w+'. Was it written by another command"
        ):
            take()
    assert [p.name for p in tmp_path.iterdir()] == ["other.json"]
