"""The Dockerfile and the definition for apptainer make one thing; neither is built here."""

import re
import tomllib

from tests.conftest import ROOT

DEFINITION = (ROOT / "envs/neuroenc.def").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def installs(text):
    """The commands that install, in order and without what only spares room."""
    joined = re.sub(r"\\\n\s*", " ", text)
    found = re.findall(r"(?:uv )?pip install [^&\n]+", joined)
    return [" ".join(one.replace("--no-cache-dir", "").replace("--no-cache", "").split()) for one in found]


def copied(text):
    """What lies in the image's folder of neuroenc, by its name in the repository."""
    if text is DEFINITION:
        pairs = [
            line.split() for line in text.split("%files")[1].split("%post")[0].splitlines() if line.strip()
        ]
        assert all(target == f"/opt/neuroenc/{source}" for source, target in pairs)
        return {source for source, _ in pairs}
    lines = [line.split() for line in re.findall(r"^COPY (.+)$", text, re.M)]
    for *sources, target in lines:
        assert all((target.rstrip("/") + "/" + s.rpartition("/")[2]).removeprefix("./") in (s, f"{s}/{s}")
                   for s in sources)  # fmt: skip
    return {source for *sources, _ in lines for source in sources}


def test_both_install_the_same_from_the_same_base():
    base = re.search(r"^From: (.+)$", DEFINITION, re.M)[1]
    assert f"\nFROM {base}\n" in DOCKERFILE
    assert installs(DOCKERFILE) == installs(DEFINITION)
    assert installs(DEFINITION) == [
        "pip install --require-hashes -r envs/uv.txt",
        "uv pip install --system --require-hashes -r envs/requirements.txt",
        "uv pip install --system --no-deps --no-build-isolation .",
    ]
    assert copied(DOCKERFILE) == copied(DEFINITION)


def test_what_both_copy_is_there_and_let_through():
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    assert set(kept) == copied(DEFINITION)
    assert all((ROOT / name).exists() for name in kept)


def test_both_have_the_same_environment():
    exports = dict(re.findall(r"^\s*export (\w+)=(\S+)$", DEFINITION.split("%environment")[1], re.M))
    assert exports == dict(re.findall(r"^ENV (\w+)=(\S+)$", DOCKERFILE, re.M)) == {"HF_HUB_OFFLINE": "1"}


def test_the_python_is_one_that_neuroenc_runs_on():
    version = re.search(r"^FROM python:([\d.]+)-slim$", DOCKERFILE, re.M)[1]
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert tuple(map(int, version.split("."))) >= tuple(map(int, asked.removeprefix(">=").split(".")))
    conda = (ROOT / "envs/environment.yaml").read_text()
    assert f"python={version}\n" in conda


def test_nothing_runs_as_root():
    words = [line.split()[0] for line in DOCKERFILE.splitlines() if line and line[0].isalpha()]
    assert words.index("USER") > max(i for i, word in enumerate(words) if word == "RUN")
    assert re.search(r"^USER (?!root)\w+$", DOCKERFILE, re.M)
    assert not re.search(r"^(FROM .*:latest|ADD )", DOCKERFILE, re.M)
