"""The lists of the protocols as training reads them, where the real tables are (EPICSUB_SHARED)."""

from pathlib import Path

import pytest

from epicsub.data.annotations import read_segments
from epicsub.data.domains import load_source, load_target
from epicsub.data.root import DataRoot
from epicsub.errors import DataError
from epicsub.validation import load_parts, load_protocol, make_lists

MMSADA = {"D1": (1543, 435), "D2": (2495, 750), "D3": (3897, 974)}
KITCHENS = {"D1": "P08", "D2": "P01", "D3": "P22"}
UDA = {
    "source_train": 16115, "target_train_timestamps": 26115, "source_test_timestamps": 4298,
    "target_test_timestamps": 5909, "source_val": 5002, "target_val": 7906,
}  # fmt: skip


@pytest.fixture(scope="module")
def root(shared_data: Path, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> DataRoot:
    """A data root with MM-SADA's lists made of its pickles, and the official tables beside them."""
    folder = tmp_path_factory.mktemp("root")
    protocol = load_parts(repository / "validation" / "mmsada.yaml")["D1-D2"]
    make_lists(protocol, folder / "annotations", shared_data / "mm-sada-splits")
    official = shared_data / "epic-100-annotations" / "UDA_annotations"
    (folder / "annotations" / "UDA_annotations").symlink_to(official)
    return DataRoot(folder)


def test_every_pair_of_mmsada_has_the_official_splits(root: DataRoot, repository: Path) -> None:
    parts = load_parts(repository / "validation" / "mmsada.yaml")
    assert sorted(parts) == sorted(f"{s}-{t}" for s in MMSADA for t in MMSADA if s != t)
    for name, protocol in parts.items():
        source, target = name.split("-")
        labelled = load_source(root, [protocol.training_list], verbs=protocol.verbs, nouns=False)
        (unlabelled,) = load_target(root, [protocol.target_list])
        scored = read_segments(root.annotations(protocol.validation.list))
        assert (len(labelled), len(unlabelled), len(scored)) == (MMSADA[source][0], *MMSADA[target])
        assert protocol.validation.count == len(scored)
        assert {s.participant_id for s in labelled} == {KITCHENS[source]}
        assert {s.participant_id for s in [*unlabelled, *scored]} == {KITCHENS[target]}
        assert {s.verb_class for s in labelled} == set(protocol.verbs)
        assert {s.verb_class for s in unlabelled} == {None}
        assert not {s.narration_id for s in unlabelled} & {s.narration_id for s in scored}


def test_a_recipe_that_wants_nouns_is_told_what_to_do(root: DataRoot) -> None:
    with pytest.raises(DataError, match=r"D1_train\.csv: noun_class is empty throughout; .*classes\.nouns=false"):
        load_source(root, ["mmsada/D1_train.csv"])


def test_the_challenges_lists_have_the_official_counts(root: DataRoot, repository: Path) -> None:
    names = {name: f"UDA_annotations/EPIC_100_uda_{name}.csv" for name in UDA}
    assert {name: len(load_target(root, [path])[0]) for name, path in names.items()} == UDA
    protocol = load_protocol(repository / "validation" / "uda.yaml")
    assert (protocol.training_list, protocol.target_list) == (names["source_train"], names["target_train_timestamps"])
    assert (protocol.validation.list, protocol.validation.count) == (names["target_val"], UDA["target_val"])
    assert (protocol.test.list, protocol.test.count) == (names["target_test_timestamps"], UDA["target_test_timestamps"])
    source = load_source(root, [protocol.training_list])
    assert len(source) == UDA["source_train"]
    with pytest.raises(DataError, match="a source list needs labels"):
        load_source(root, [protocol.target_list])
    kitchens = {s.participant_id for s in source}
    assert len(kitchens) == 12
    assert not kitchens & {s.participant_id for s in load_source(root, [names["source_val"]])}
