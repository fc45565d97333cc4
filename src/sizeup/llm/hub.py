"""The Hugging Face Hub: config.json and the headers of weight files, through huggingface_hub - never the weights.

Its cache, token, ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are those of huggingface_hub; what is cached is used first.
"""

from __future__ import annotations

import socket
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sizeup.errors import UserError
from sizeup.llm.headers import DTYPE_BITS, MAX_ELEMENTS, MAX_TENSORS, StoredWeights, stored_weights
from sizeup.llm.loaded import LoadedModel, read_config
from sizeup.llm.tensor_names import Entry

TIMEOUT_SECONDS = 20
CONNECT_SECONDS = 5


def load_hub(repository: str, *, headers: bool | None = None) -> LoadedModel:
    """Return what the Hub says of ``repository``.

    ``headers``: whether to read the weight files' headers too; None for only where there is no config.json.

    Raises:
        UserError: no such repository, no permission, no network, or nothing that describes a model.
    """
    config = _config(repository)
    stored = None
    if headers or (config is None and headers is None):
        stored = stored_on_hub(repository)
    if config is None and stored is None:
        raise UserError(f"{repository} on the Hub has neither a config.json nor safetensors files")
    return LoadedModel(
        kind="hub", name=repository, where=repository, config=config, stored=stored,
        remarks=stored.remarks if stored else (),
    )  # fmt: skip


def _config(repository: str) -> dict[str, Any] | None:
    """Return the repository's configuration, from the cache if it is there; None when it has none."""
    client = _client()
    cached = client.try_to_load_from_cache(repository, "config.json")
    if isinstance(cached, str):
        return read_config(Path(cached))
    _require_reachable(repository)
    try:
        return read_config(Path(client.hf_hub_download(repository, "config.json", etag_timeout=TIMEOUT_SECONDS)))
    except UserError:
        raise
    except Exception as error:
        if type(error).__name__ == "EntryNotFoundError" or type(error).__name__ == "RemoteEntryNotFoundError":
            return None
        raise _explained(repository, error) from None


def _client() -> Any:
    """Return huggingface_hub, whose parts are imported when they are first named.

    Raises:
        UserError: it is missing, or its settings in the environment are impossible.
    """
    try:
        import huggingface_hub
        from huggingface_hub import constants, get_safetensors_metadata, hf_hub_download  # noqa: F401

        return huggingface_hub
    except (ImportError, ValueError) as error:
        raise UserError(f"huggingface_hub cannot be used: {error}", hint="is HF_ENDPOINT a web address?") from None


def _require_reachable(repository: str) -> None:
    """Say at once that there is no network; huggingface_hub would ask again and again for half a minute.

    Raises:
        UserError: the Hub's host does not answer. Not asked where a proxy stands between, or offline mode is set.
    """
    constants = _client().constants
    hub = urllib.parse.urlsplit(constants.ENDPOINT)
    if constants.HF_HUB_OFFLINE or urllib.request.getproxies() or not hub.hostname:
        return
    try:
        port = hub.port or (80 if hub.scheme == "http" else 443)
        socket.create_connection((hub.hostname, port), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError):
        raise UserError(
            f"{repository} is not in the local cache, and {hub.netloc} was not reached",
            hint="name a local config.json, or a model of the catalog: sizeup models",
        ) from None


def stored_on_hub(repository: str) -> StoredWeights:
    """Return the sums over the headers of the repository's safetensors files.

    Raises:
        UserError: no permission, no network, or no safetensors files.
    """
    try:
        found = _client().get_safetensors_metadata(repository)
    except UserError:
        raise
    except Exception as error:
        raise _explained(repository, error) from None
    tensors: dict[str, Entry] = {}
    for file in found.files_metadata.values():
        for name, info in file.tensors.items():
            tensors[name] = _entry(repository, name, info)
            if len(tensors) > MAX_TENSORS:
                raise UserError(f"{repository} has more tensors than a model can have")
    return stored_weights(tensors, name=repository, kind="safetensors", metadata=_texts(found.metadata))


def _entry(repository: str, name: str, info: Any) -> Entry:
    bits, elements = DTYPE_BITS.get(info.dtype), 1
    for length in info.shape:
        elements *= length if type(length) is int and length >= 0 else MAX_ELEMENTS + 1
    if bits is None or elements > MAX_ELEMENTS:
        raise UserError(
            f'{repository}: tensor "{name[:80]}" has the impossible type or shape {info.dtype} {info.shape}'
        )
    return Entry(info.dtype, tuple(info.shape), elements * bits // 8)


def _texts(metadata: object) -> dict[str, Any]:
    return dict(metadata) if isinstance(metadata, Mapping) else {}


_REASONS = {
    "GatedRepoError": (
        "is gated: its owner wants to be asked",
        "accept its terms on the Hub and log in (hf auth login)",
    ),
    "RepositoryNotFoundError": ("is not on the Hub, or is private", "check the name; log in if it is private"),
    "RevisionNotFoundError": ("has no such revision on the Hub", ""),
    "DisabledRepoError": ("was disabled on the Hub", ""),
    "NotASafetensorsRepoError": ("has no safetensors files", ""),
    "SafetensorsParsingError": ("has a safetensors file with a malformed header", ""),
    "OfflineModeIsEnabled": ("is not in the local cache, and HF_HUB_OFFLINE is set", "unset it, or name a local file"),
    "LocalEntryNotFoundError": ("is not in the local cache, and the Hub was not reached", "name a local config.json"),
    "HFValidationError": ("is not a repository name", ""),
    "EntryNotFoundError": ("lacks a file that was looked for", ""),
    "RemoteEntryNotFoundError": ("lacks a file that was looked for", ""),
    "LocalTokenNotFoundError": ("needs a token", "log in (hf auth login)"),
}


def _explained(repository: str, error: Exception) -> UserError:
    """Return what went wrong in the user's words; the most telling cause of a chain counts."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 10:
        chain.append(current)
        current = current.__cause__ or current.__context__
    names = [base.__name__ for link in chain for base in type(link).__mro__]
    for telling in ("GatedRepoError", "OfflineModeIsEnabled"):
        if telling in names:
            names.insert(0, telling)
    for name in names:
        if name in _REASONS:
            what, hint = _REASONS[name]
            return UserError(f"{repository} {what}", hint=hint)
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return UserError(f"the Hub answered {status} for {repository}")
    return UserError(f"could not ask the Hub about {repository}: {type(error).__name__}", hint="is there a network?")
