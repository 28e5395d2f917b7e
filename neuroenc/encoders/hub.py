"""Exported encoders on the Hugging Face hub, by its own client."""

from __future__ import annotations

import re
from pathlib import Path

from neuroenc.errors import InputError, reason

HUB = "hub:"
KEPT = ("*.json", "*.safetensors", "README.md")


def _checked(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        raise InputError(f"{name!r} is no name on the hub. Expected OWNER/NAME.")
    return name


def fetched(name: str, revision: str) -> Path:
    """Return the folder of an encoder on the hub; what is in the cache is not fetched again.

    Raises
    ------
    InputError
        There is none of that name, or it is not in the cache and the hub cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(_checked(name), revision=revision, allow_patterns=list(KEPT)))
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  the client has errors of every kind
        raise InputError(
            f"Cannot fetch {name!r} ({revision}) from the hub: {reason(error)}. Check the name and the "
            "network; what was fetched once is read without."
        ) from None


def push(folder: Path, name: str, *, private: bool) -> str:
    """Upload an exported encoder; return its address.

    Raises
    ------
    InputError
        The hub refuses: no token, no leave, no network.
    """
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.create_repo(_checked(name), private=private, exist_ok=True)
        api.upload_folder(
            repo_id=name, folder_path=folder, allow_patterns=list(KEPT), commit_message="Exported by neuroenc"
        )
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001  the client has errors of every kind
        raise InputError(
            f"Cannot upload to {name!r}: {reason(error)}. Log in by `hf auth login`, or check the name."
        ) from None
    return f"{api.endpoint}/{name}"
