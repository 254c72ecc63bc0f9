"""Published weights: where they are looked for, how they are read, and strict loading.

A name is looked for in local folders first and on the Hugging Face hub after. Nothing is ever replaced by random
weights: what is not found, or does not fit, is an error that names the places and the tensors.
"""

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import torch
from huggingface_hub import hf_hub_download, is_offline_mode, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.io import user_path
from epicsub.io.network import fetch, hub_address, why_unreachable
from epicsub.models.state_dict import read_tensors, with_own_names
from epicsub.models.table import WEIGHTS, WeightFile


def check_fit(name: str | None, model: str) -> None:
    """Refuse a published file that is for another network.

    Args:
        name: of the weights, published or not.
        model: the network, as the column of `WEIGHTS` calls it.

    Raises:
        ModelError: it is for another.
    """
    if name in WEIGHTS and WEIGHTS[name].model != model:
        raise ModelError(f"weights {name} are for {WEIGHTS[name].model}, not for {model}: see `epicsub weights list`")


def check_modalities(what: str, given: Iterable[str], modalities: Sequence[str]) -> None:
    """Refuse a setting per modality that lacks one or has one too many.

    Args:
        what: the setting.
        given: modalities that it names.
        modalities: of the streams.

    Raises:
        ModelError: they differ.
    """
    if set(given) != set(modalities):
        raise ModelError(f"{what} are given for {sorted(given)}, the streams are {sorted(modalities)}; name each one")


WEIGHTS_VARIABLE = "EPICSUB_WEIGHTS"  # a folder of weight files
HUB_VARIABLE = "EPICSUB_HUB"  # a hub repository, owner/name, that holds files of the names below
LIST_AT_MOST = 8  # tensor names in one message
FILE_ENDINGS = (".pt", ".pth", ".bin", ".safetensors")


def _weight_folders() -> list[Path]:
    """Local folders, in the order of looking: `weights/` here, $EPICSUB_WEIGHTS, what was fetched before."""
    named = os.environ.get(WEIGHTS_VARIABLE)
    return [Path("weights"), *([user_path(named)] if named else []), cache_folder()]


def cache_folder() -> Path:
    """Name the folder that fetched files are kept in.

    Returns:
        torch's own, which $TORCH_HOME moves.
    """
    return Path(torch.hub.get_dir()) / "checkpoints"


def find_weights(name_or_path: str, folders: Sequence[Path] | None = None) -> Path:
    """The file of a published name, or the named file itself.

    Args:
        name_or_path: a key of `WEIGHTS`, or a path of a file.
        folders: local folders to look in first; None for the usual ones.

    Returns:
        Its path.

    Raises:
        ModelError: no such name, no such file, or the file is neither in a folder nor on the hub.
    """
    if name_or_path in WEIGHTS:
        published = WEIGHTS[name_or_path]
        repository = None if published.package else published.repository or os.environ.get(HUB_VARIABLE)
        on_hub = published.hub_files or (published.file,)
        return _find(name_or_path, local_names(name_or_path), repository, on_hub, published, folders)
    path = user_path(name_or_path)
    if path.is_file():
        return path
    if path.suffix in FILE_ENDINGS or len(path.parts) > 1:
        raise ModelError(
            f"weights {name_or_path}: no such file; name one that is there, or a name of `epicsub weights list`"
        )
    near = difflib.get_close_matches(name_or_path, WEIGHTS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ModelError(
        f"weights {name_or_path!r}: no such name or file{hint} (names: {', '.join(WEIGHTS)}; or the path of a file)"
    )


def local_names(name: str) -> list[str]:
    """Name the files that a published file may be in a local folder.

    Args:
        name: a key of `WEIGHTS`.

    Returns:
        NAME.safetensors, which `epicsub weights fetch` writes, and the publisher's own; of a hub repository some hold
        one format, some another.
    """
    file, own = WEIGHTS[name].file, f"{name}.safetensors"
    if not WEIGHTS[name].repository:
        return list(dict.fromkeys((own, file)))
    return [own, *(file.removesuffix(".safetensors") + ending for ending in FILE_ENDINGS)]


def find_locally(files: Sequence[str], folders: Sequence[Path] | None = None) -> Path | None:
    """Look for a file in local folders.

    Args:
        files: names it may have.
        folders: in the order of looking; None for the usual ones.

    Returns:
        The first that is there, or None.
    """
    places = _weight_folders() if folders is None else folders
    return next((folder / file for folder in places for file in files if (folder / file).is_file()), None)


def find_backbone_weights(
    backbone: str, pretrained_cfg: Mapping[str, Any], folders: Sequence[Path] | None = None
) -> Path:
    """The file of the weights that timm publishes for a backbone.

    Args:
        backbone: timm name, for the message.
        pretrained_cfg: the backbone's own, which names its hub repository.
        folders: local folders to look in first, for ARCHITECTURE.TAG with one of `FILE_ENDINGS`.

    Returns:
        Its path.

    Raises:
        ModelError: timm publishes none, or the file is neither in a folder nor on the hub.
    """
    full_name = ".".join(filter(None, (pretrained_cfg.get("architecture"), pretrained_cfg.get("tag"))))
    repository = pretrained_cfg.get("hf_hub_id")
    if not repository:
        raise ModelError(f"backbone {backbone}: timm publishes no weights for {full_name} on the hub; name a file")
    on_hub = [pretrained_cfg.get("hf_hub_filename") or "model.safetensors", "pytorch_model.bin"]
    return _find(full_name, [full_name + ending for ending in FILE_ENDINGS], repository, on_hub, None, folders)


def _find(
    name: str,
    local_files: Sequence[str],
    repository: str | None,
    hub_files: Sequence[str],
    published: WeightFile | None,
    folders: Sequence[Path] | None,
) -> Path:
    """Local folders, then the hub's cache on this machine, then the hub."""
    if found := find_locally(local_files, folders):
        return found
    folders = _weight_folders() if folders is None else folders
    hub = f"  Hugging Face hub: not asked, ${HUB_VARIABLE} (owner/name of a repository) is not set"
    if published and published.package:
        hub = f"  package registry: not asked before a run; {published.package} carries the file"
    elif published and published.url:
        found, reason = _from_url(published.url)
        if found:
            return found
        hub = f"  {published.url}: {reason}"
    elif repository:
        found, reason = _from_hub(repository, hub_files)
        if found:
            return found
        hub = f"  Hugging Face hub: {repository}, {' or '.join(hub_files)}: {reason}"
    looked = f"{' or '.join(local_files)} in {', '.join(map(str, folders)) or 'no folder'}"
    target = published.file if published and not published.repository else f"the file, as {local_files[0]},"
    advice = f"get {target} from {published.source} and put" if published else "put the file"
    if published and published.package:
        advice = f"`epicsub weights fetch {name}`; or put {target}"
    raise ModelError(
        f"weights {name}: not found, and random weights are used only when a recipe says null.\n"
        f"  local files: {looked} (${WEIGHTS_VARIABLE} adds a folder)\n{hub}\n"
        f"  What to do: {advice} it into weights/, or name its path in the recipe".replace("put the file it", "put it")
    )


def _from_hub(repository: str, files: Sequence[str]) -> tuple[Path | None, str]:
    """A file of a hub repository, or the reason why there is none."""
    reason = "no such file there"
    try:
        for file in files:
            cached = try_to_load_from_cache(repository, file)
            if isinstance(cached, str):
                return Path(cached), ""
        if not is_offline_mode() and (silence := why_unreachable(hub_address())):  # its own attempts take minutes
            return None, silence
        for file in files:
            try:
                return Path(hf_hub_download(repository, file, etag_timeout=5)), ""
            except EntryNotFoundError as error:
                reason = _why_not(error)
    except (OSError, ValueError) as error:  # no network, no such repository, a name the hub refuses
        reason = _why_not(error)
    return None, reason


def _from_url(url: str) -> tuple[Path | None, str]:
    """A file of torch's own cache, fetched into it if it is not there, or the reason why it cannot be."""
    path = cache_folder() / url.rpartition("/")[2]
    reason = "" if path.is_file() else fetch(url, path)
    return (None, reason) if reason else (path, "")


def _why_not(error: Exception) -> str:
    """Why a download failed, in epicsub's words."""
    if isinstance(error, GatedRepoError):
        return "its owner asks for a login: `hf auth login`"
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return "no such repository, or one that asks for a login (`hf auth login`)"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return "no such file there"
    if isinstance(error, HTTPError) and error.code:
        return f"the server answered {error.code}"
    if isinstance(error, OSError) and error.errno and error.strerror:
        return error.strerror
    return "cannot reach it from here, there may be no network"


def load_strictly(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, dropped: Iterable[str] = ()) -> None:
    """Load named tensors into a module: every one the module has must be there, and no other but the `dropped`.

    Batch-norm counters (`num_batches_tracked`) may be absent: older files have none, and evaluation reads none.

    Args:
        module: what to fill.
        tensors: names and values.
        path: the file they come from, for the message.
        dropped: prefixes of tensors left out knowingly (a classifier of other classes).

    Raises:
        ModelError: tensors are missing, left over or of another shape; nothing was loaded.
    """
    prefixes = tuple(dropped)
    own = module.state_dict()
    offered = {name: value for name, value in tensors.items() if not (prefixes and name.startswith(prefixes))}
    missing = [name for name in own if name not in offered and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in offered if name not in own]
    shapes = [
        f"{name} {tuple(value.shape)} where the model has {tuple(own[name].shape)}"
        for name, value in offered.items()
        if name in own and value.shape != own[name].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": shapes}
    if any(problems.values()):
        said = "\n".join(f"  {kind} ({len(names)}): {_listed(names)}" for kind, names in problems.items() if names)
        raise ModelError(f"{path}: does not fit the model; nothing was loaded\n{said}\nname weights of this model")
    module.load_state_dict(own | offered)


def load_published(
    module: nn.Module,
    path: Path,
    dropped: Sequence[str] | str,
    input_layers: Sequence[str] | str = (),
    channels: int = 3,
) -> None:
    """Fill a network from a published file of RGB weights.

    The first convolution of a stream with other channels gets the mean over the three, repeated (cross-modality
    pre-training of temporal segment networks, arXiv 1608.00859, section 4.2).

    Args:
        module: what to fill.
        path: the file.
        dropped: names of the classifier of other classes, which is not loaded.
        input_layers: names of the layers that read the channels.
        channels: C of the stream.

    Raises:
        ModelError: the file does not fit: names and shapes are listed.
    """
    tensors = with_own_names(read_tensors(path), set(module.state_dict()).__contains__, path)
    for name in [input_layers] if isinstance(input_layers, str) else input_layers:
        weight = tensors.get(f"{name}.weight")
        if weight is not None and weight.shape[1] != channels:
            mean = weight.mean(dim=1, keepdim=True)
            tensors[f"{name}.weight"] = mean.repeat(1, channels, *(1,) * (weight.ndim - 2))
    load_strictly(module, tensors, path, [f"{name}." for name in ([dropped] if isinstance(dropped, str) else dropped)])


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LIST_AT_MOST])
    return shown if len(names) <= LIST_AT_MOST else f"{shown} and {len(names) - LIST_AT_MOST} more"
