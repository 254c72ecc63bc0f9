import subprocess
import sys

import pytest
import yaml

from epicsub.errors import ValidationError
from epicsub.validation import load_protocol


@pytest.fixture
def content(repository):
    return yaml.safe_load((repository / "validation" / "ek100.yaml").read_text())


def problems(tmp_path, content):
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ValidationError) as caught:
        load_protocol(path)
    lines = str(caught.value).splitlines()
    assert all(line.startswith(f"{path}: ") for line in lines)
    return [line.removeprefix(f"{path}: ") for line in lines]


def test_the_shipped_protocols_load(repository):
    paths = sorted((repository / "validation").glob("*.yaml"))
    assert {"ek100", "tiny"} <= {path.stem for path in paths}
    for path in paths:
        assert load_protocol(path).name == path.stem


def test_the_counts_of_the_challenge(repository):
    protocol = load_protocol(repository / "validation" / "ek100.yaml")
    assert (protocol.validation.count, protocol.test.count) == (9668, 9449)
    assert protocol.validation.list == "EPIC_100_validation.csv"


def test_unknown_keys_are_refused_with_the_nearest(tmp_path, content):
    content["tail_verb"] = content.pop("tail_verbs")
    content["test"]["cuont"] = content["test"].pop("count")
    content["zzz"] = 1
    assert sorted(problems(tmp_path, content)) == [
        "tail_verb: unknown key, did you mean tail_verbs?",
        "tail_verbs: missing",
        "test.count: missing",
        "test.cuont: unknown key, did you mean test.count?",
        "zzz: unknown key, known are name, training_list, validation, test, tail_verbs, tail_nouns, unseen_validation, "
        "selection",
    ]


def test_wrong_values_are_named(tmp_path, content):
    content["validation"]["count"] = "9668"
    content["test"]["count"] = 0
    content["name"] = ""
    found = problems(tmp_path, content)
    assert len(found) == 3
    assert "validation.count: input should be a valid integer, got '9668'" in found
    assert "test.count: input should be greater than 0, got 0" in found


def test_a_missing_protocol_names_those_that_are_there(repository):
    with pytest.raises(ValidationError, match=r"no such protocol; .*validation holds: ek100.yaml, tiny.yaml"):
        load_protocol(repository / "validation" / "ek10.yaml")


@pytest.mark.parametrize(("text", "message"), [("a: [", "not YAML"), ("- a", "is a mapping with the keys name, ")])
def test_files_that_are_no_protocol(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValidationError, match=message):
        load_protocol(tmp_path / "p.yaml")


def test_the_room_does_without_torch():
    code = "import sys, epicsub.validation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
