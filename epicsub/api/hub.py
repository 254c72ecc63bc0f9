"""Sharing trained models on the Hugging Face hub."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from epicsub.api import data_root
from epicsub.api.predict import CLASS_TABLES
from epicsub.data.annotations import read_class_names
from epicsub.errors import HubError, InferenceError
from epicsub.hub import remote
from epicsub.hub.card import model_card
from epicsub.hub.folder import FILES, check_files, class_digest, is_published, read_note, write_folder
from epicsub.inference.targets import resolve_target
from epicsub.io import user_path
from epicsub.submission.supervision import levels_of_recipe
from epicsub.validation import find_protocol
from epicsub.validation.record import recorded_scores


@dataclass(frozen=True)
class Pushed:
    """What was uploaded."""

    address: remote.Address
    commit: str
    notes: tuple[str, ...]
    """What the card lacks, a line each."""


def push(
    run: str | Path,
    repository: str,
    *,
    protocol: str | Path | None = None,
    data: str | Path | None = None,
    private: bool = False,
) -> Pushed:
    """Upload a trained model in one commit: safetensors, recipe, provenance and a card.

    Args:
        run: a checkpoint or a run.
        repository: ORG/NAME, made where it is missing; a branch may follow after an @.
        protocol: whose recorded scores the card shows; the recipe's by default.
        data: data root, for the names of classes; by default the recipe's, else $EPICSUB_DATA, else data/.
        private: make the repository visible to its owner alone.

    Returns:
        The commit, and what the card lacks.

    Raises:
        HubError: no such address, the hub cannot be reached or refuses, or the repository holds something else.
        InferenceError: no such run, or it holds predictions.
        TrainingError: the checkpoint is damaged.
        ValidationError: a record of its validation cannot be read.
    """
    address = remote.parse_address(repository)
    target = resolve_target(str(run))
    checkpoint = target.checkpoint
    if checkpoint is None:
        raise InferenceError(f"{target.path}: holds predictions; name a checkpoint (.pth) or a run")
    found = find_protocol(protocol, checkpoint.recipe["evaluation"]["protocol"])
    records, notes = recorded_scores(target.sha256, found.records), []
    if not records:
        notes.append(
            f"note: the card has no scores: none of this checkpoint are recorded in {found.records}; run `epicsub "
            f"validate {run} --record` and push again"
        )
    rules = found.protocol
    later = (rules.validation.list, rules.test.list)
    levels = levels_of_recipe(checkpoint.recipe, (rules.training_list,), later, checkpoint.initial)
    tables = class_digests(data_root(data, checkpoint.recipe["data"]["root"]).path / "annotations")
    if len(tables) < len(CLASS_TABLES):
        notes.append("note: the tables of class names are not under the data root; their digest is left out (--data)")
    card = model_card(checkpoint, address.repository, records, levels.levels, tables)
    with TemporaryDirectory(prefix="epicsub-hub-") as place:
        write_folder(Path(place), checkpoint, tables, card)
        commit = remote.push(Path(place), address, private)
    return Pushed(address, commit, tuple(notes))


def pull(repository: str, out: str | Path | None = None) -> Path:
    """Fetch a model that was pushed, check it, and write it to a folder.

    Args:
        repository: hf://ORG/NAME[@REVISION].
        out: the folder; outputs/NAME by default. It is then named wherever a run is.

    Returns:
        The folder.

    Raises:
        HubError: the hub cannot be reached or refuses, the repository holds something else, or the folder is taken.
    """
    address = remote.parse_address(repository)
    target = user_path(out) if out is not None else Path("outputs") / address.repository.partition("/")[2]
    if target.exists() and not (target.is_dir() and is_published(target)) and any(target.iterdir()):
        raise HubError(f"{target}: is there, and is no model of the hub: name another folder with --out")
    folder = remote.pull(address)
    check_files(folder, read_note(folder))
    if target.is_dir() and is_published(target) and read_note(target)["files"] != read_note(folder)["files"]:
        raise HubError(f"{target}: holds another model or another revision: name another folder with --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".pulling-", dir=target.parent) as place:
        for name in FILES:
            shutil.copyfile(folder / name, Path(place) / name)
        target.mkdir(exist_ok=True)
        for name in reversed(FILES):  # the note comes last: without it there is no model
            (Path(place) / name).replace(target / name)
    return target


def class_digests(annotations: Path) -> dict[str, str]:
    """Digest the tables of class names that are there.

    Args:
        annotations: folder of the tables.

    Returns:
        By file name.

    Raises:
        DataError: a table cannot be read.
    """
    there = {table: annotations / table for table in CLASS_TABLES.values()}
    return {table: class_digest(read_class_names(path)) for table, path in there.items() if path.is_file()}
