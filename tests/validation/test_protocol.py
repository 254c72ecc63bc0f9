import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from epicsub.errors import ValidationError
from epicsub.validation import Protocol, load_parts, load_protocol


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
    assert {"ek100", "ek100_shift", "uda", "mmsada", "tiny"} <= {path.stem for path in paths}
    for path in paths:
        for part, protocol in load_parts(path).items():
            assert protocol.name == (path.stem if part is None else f"{path.stem}:{part}")


def test_the_counts_of_the_challenge(repository):
    protocol = load_protocol(repository / "validation" / "ek100.yaml")
    assert (protocol.validation.count, protocol.test.count) == (9668, 9449)
    assert protocol.validation.list == "EPIC_100_validation.csv"


def test_unknown_keys_are_refused_with_the_nearest(tmp_path, content):
    content["tail_verb"] = content.pop("tail_verbs")
    content["test"]["cuont"] = content["test"].pop("count")
    content["selection1"] = content.pop("selection")
    content["zzz"] = 1
    assert sorted(problems(tmp_path, content)) == [
        "selection1: unknown key, did you mean selection?",
        "selection: missing, it must be given",
        "tail_verb: unknown key, did you mean tail_verbs?",
        "test.count: missing, it must be given",
        "test.cuont: unknown key, did you mean test.count?",
        f"zzz: unknown key, known are {', '.join(Protocol.model_fields)}",
    ]


def test_wrong_values_are_named(tmp_path, content):
    content["validation"]["count"] = "9668"
    content["test"]["count"] = 0
    content["name"] = ""
    found = problems(tmp_path, content)
    assert len(found) == 3
    assert "validation.count: is '9668', must be a whole number" in found
    assert "test.count: is 0, must be greater than 0" in found


def test_a_missing_protocol_names_those_that_are_there(repository):
    with pytest.raises(ValidationError, match=r"no such protocol; .*validation holds: ek100.yaml, ek100_shift.yaml, "):
        load_protocol(repository / "validation" / "ek10.yaml")


@pytest.mark.parametrize(
    ("text", "message"), [("a: [", "YAML: cannot be read"), ("- a", "must be a mapping with the keys name, ")]
)
def test_files_that_are_no_protocol(tmp_path, text, message):
    (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ValidationError, match=message):
        load_protocol(tmp_path / "p.yaml")


def test_keys_of_inner_mappings_are_known(tmp_path, repository):
    content = yaml.safe_load((repository / "validation" / "ek100_shift.yaml").read_text())
    content["held_out"]["vidoes"] = content["held_out"].pop("videos")
    content["held_out"]["source"]["liste"] = ""
    assert sorted(problems(tmp_path, content)) == [
        "held_out.source.liste: unknown key, did you mean held_out.source.list?",
        "held_out.videos: missing, it must be given",
        "held_out.vidoes: unknown key, did you mean held_out.videos?",
    ]


def test_which_labels_a_choice_may_read(repository):
    official = load_protocol(repository / "validation" / "ek100.yaml")
    assert official.may_select("EPIC_100_train.csv")
    assert not official.may_select(official.validation.list)
    shifted = load_protocol(repository / "validation" / "ek100_shift.yaml")
    assert shifted.may_select(shifted.validation.list)
    for protocol in load_parts(repository / "validation" / "mmsada.yaml").values():
        assert protocol.selection_lists == (protocol.training_list,)
        assert not protocol.may_select(protocol.validation.list)


def test_a_part_is_named_after_a_colon(repository):
    path = repository / "validation" / "mmsada.yaml"
    protocol = load_protocol(Path(f"{path}:D3-D2"))
    assert protocol.name == "mmsada:D3-D2"
    assert protocol.training_list == "mmsada/D3_train.csv"
    assert (protocol.validation.list, protocol.validation.count) == ("mmsada/D2_test.csv", 750)
    assert (protocol.tasks, protocol.verbs) == (("verb",), (0, 1, 3, 4, 2, 7, 10, 9))
    with pytest.raises(ValidationError, match=r"has parts; name one of .*mmsada.yaml:D1-D2, "):
        load_protocol(path)
    with pytest.raises(ValidationError, match=r"no part 'D4'; it has D1-D2, D1-D3, D2-D1"):
        load_protocol(Path(f"{path}:D4"))
    with pytest.raises(ValidationError, match=r"ek100.yaml: no part 'x'; it has no parts at all"):
        load_protocol(path.with_name("ek100.yaml:x"))


def test_parts_that_are_no_mapping(tmp_path, content):
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(content | {"parts": ["D1"]}))
    with pytest.raises(ValidationError, match="parts is a mapping from a part's name"):
        load_protocol(path)


def test_the_room_does_without_torch():
    code = "import sys, epicsub.validation; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_installed_package_records_nothing_inside_itself(repository, tmp_path):
    package = tmp_path / "site-packages" / "epicsub"
    shutil.copytree(repository / "epicsub", package, ignore=shutil.ignore_patterns("__pycache__"))
    inside = shutil.copytree(repository / "validation", package / "shipped" / "validation")
    own = shutil.copy(inside / "tiny.yaml", tmp_path / "own.yaml")
    names = ["ek100", "validation/ek100.yaml", "mmsada:D1-D2", str(inside / "ek100.yaml"), str(own)]
    program = f"from epicsub.validation import find_protocol as f\nfor name in {names}: print(f(name).records)"
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
    )
    assert done.stdout.splitlines() == [*["validation/runs"] * 4, str(tmp_path / "runs")]
