"""What goes wrong on the way from scores to an upload."""

import json
from pathlib import Path

import numpy as np
from trying import Case
from user_files import (
    LEVELS,
    SMALL,
    VALIDATION_LIST,
    a_submission,
    drop,
    half,
    json_zip,
    mixed_submission,
    one_class,
    pickled,
    probabilities,
    pt,
    rows_of,
    several,
    sinking,
)

SUBMIT = [
    Case(
        "Several members, and no word of an ensemble",
        f"submit a.pt b.pt {LEVELS} {SMALL}",
        several(pt("a.pt"), pt("b.pt")),
        "--ensemble",
    ),
    Case(
        "A member that lacks segments",
        f"submit short.pt {LEVELS} {SMALL}",
        pt("short.pt", lambda rows: rows[3:]),
        "--fill prior",
    ),
    Case("Supervision levels that a file does not say", f"submit a.pt {SMALL}", pt("a.pt"), "--sls-pt"),
    Case("A level lower than the recipe's", f"submit short --sls-td 3 {SMALL}", says="lower than the 4"),
    Case(
        "Another count than the phase's",
        "submit short --protocol validation/ek100.yaml --data kitchens",
        says="--count 20",
    ),
    Case(
        "A member of other classes",
        f"submit epic55.pt {LEVELS} {SMALL}",
        pt("epic55.pt", lambda rows: rows_of([row["narration_id"] for row in rows], 125)),
        "97",
    ),
    Case(
        "A member with a score that is no number",
        f"submit nan.pt {LEVELS} {SMALL}",
        pt("nan.pt", lambda rows: rows[2]["verb_output"].fill_(float("nan"))),
        "not finite",
    ),
    Case(
        "A part probabilities, a part not",
        f"submit mixture.pt {LEVELS} {SMALL}",
        pt("mixture.pt", lambda rows: rows[0].update(verb_output=rows[0]["verb_output"].exp())),
        "mixture",
    ),
    Case(
        "A pickle of something else",
        f"submit other.pkl {LEVELS} {SMALL}",
        pickled("other.pkl", lambda ids: Path("x")),
        "other.pkl",
    ),
    Case(
        "A table that is no list of segments",
        f"submit array.pkl {LEVELS} {SMALL}",
        pickled("array.pkl", lambda ids: np.zeros((20, 397))),
        "array.pkl",
    ),
]

CHECK = [
    Case("No such file", f"check submission.zip {SMALL}", says="no such file"),
    Case(
        "A test.json in a folder of the zip",
        f"check folder.zip {SMALL}",
        json_zip("folder.zip", entry="ours/test.json"),
        "lies in a folder",
    ),
    Case("A .pt that was renamed", f"check renamed.zip {SMALL}", pt("renamed.zip"), "was named .zip"),
    Case(
        "An upload that was cut off",
        f"check cut.zip {SMALL}",
        several(json_zip("cut.zip"), lambda place: half(place / "cut.zip")),
        "not a whole zip",
    ),
    Case(
        "Ids that are missing, unexpected and twice",
        f"check ids.pt {SMALL}",
        pt(
            "ids.pt",
            lambda rows: (
                rows[0].update(narration_id="P37_101_9") or rows[1].update(narration_id=rows[2]["narration_id"])
            ),
        ),
        "missing",
    ),
    Case("Too few segments", f"check few.pt {SMALL}", pt("few.pt", lambda rows: rows[:12]), "--count 12"),
    Case(
        "A validation list sent as test",
        f"check validation.pt {SMALL}",
        pt("validation.pt", ids=VALIDATION_LIST),
        "has labels and is not sent",
    ),
    Case(
        "The same without any list to compare with",
        "check validation.pt --protocol small.yaml --data nowhere --count 24",
        pt("validation.pt", ids=VALIDATION_LIST),
        "of 2018",
    ),
    Case(
        "Rows of other lengths, types and shapes",
        f"check rows.pt {SMALL}",
        pt(
            "rows.pt",
            lambda rows: (
                rows[0].update(verb_output=rows[0]["verb_output"][:96])
                or rows[1].update(noun_output=rows[1]["noun_output"].double())
                or rows[2].update(verb_output=rows[2]["verb_output"].tolist())
            ),
        ),
        "96 values",
    ),
    Case(
        "Numpy arrays in a torch file",
        f"check numpy.pt {SMALL}",
        pt("numpy.pt", lambda rows: rows[0].update(verb_output=rows[0]["verb_output"].numpy())),
        "weights_only=True",
    ),
    Case(
        "Scores that are not finite",
        f"check infinite.pt {SMALL}",
        pt("infinite.pt", lambda rows: rows[3]["noun_output"][5:6].fill_(-float("inf"))),
        "not finite",
    ),
    Case(
        "A row with one score for all classes",
        f"check constant.pt {SMALL}",
        pt("constant.pt", one_class),
        "the same for every class",
    ),
    Case(
        "The same row twice",
        f"check twice.pt {SMALL}",
        pt(
            "twice.pt",
            lambda rows: rows[5].update(verb_output=rows[6]["verb_output"], noun_output=rows[6]["noun_output"]),
        ),
        "very scores of another",
    ),
    Case(
        "Logits of which some vanish in the one softmax",
        f"check logits.pt {SMALL}",
        pt(
            "logits.pt",
            sinking,
        ),
        "otherwise",
    ),
    Case(
        "Another version of test.json",
        f"check version.zip {SMALL}",
        json_zip("version.zip", lambda content: content.update(version="0.1")),
        "'0.2' expected",
    ),
    Case(
        "A test.json of the other challenge",
        f"check uda.zip {SMALL}",
        json_zip(
            "uda.zip",
            lambda content: content.update(challenge="domain_adaptation", results_target=content.pop("results")),
        ),
        "results_target",
    ),
    Case(
        "A supervision level that is none",
        f"check level.zip {SMALL}",
        json_zip("level.zip", lambda content: content.update(sls_td="4")),
        "sls_td",
    ),
    Case(
        "Classes that are missing",
        f"check classes.zip {SMALL}",
        json_zip("classes.zip", lambda content: drop(next(iter(content["results"].values()))["noun"], "299")),
        "299 classes",
    ),
    Case(
        "A test.json that is no JSON",
        f"check text.zip {SMALL}",
        json_zip("text.zip", lambda content: json.dumps(content)[:-40]),
        "not JSON",
    ),
    Case(
        "A folder that mixes two submissions",
        f"check submissions/mixed/submission.pt {SMALL}",
        mixed_submission,
        "another content",
    ),
]

WARNINGS = [
    Case(
        "Probabilities",
        f"check probabilities.pt {SMALL}",
        pt("probabilities.pt", probabilities),
        "changes the action top-5 of",
        0,
    ),
    Case(
        "Raw logits that the scorer still ranks right",
        f"check raw.pt {SMALL}",
        pt("raw.pt", lambda rows: rows[2]["noun_output"].add_(2.0)),
        "neither",
        0,
    ),
    Case(
        "A phase whose test list has labels",
        f"check labelled.pt --test-list kitchens/annotations/{VALIDATION_LIST} --count 24 {SMALL}",
        pt("labelled.pt", ids=VALIDATION_LIST),
        "has labels",
        0,
    ),
    Case(
        "No list to compare with",
        "check member.pt --protocol small.yaml --data nowhere",
        pt("member.pt"),
        "were not compared",
        0,
    ),
]

LEDGER = [
    Case("A submission that is not there", "submissions --uploaded frist", a_submission("first"), "no such submission"),
    Case(
        "A second upload on one day",
        "submissions --uploaded first --day 2026-04-01",
        a_submission("first", "submissions --uploaded first --day 2026-04-01"),
        "1 upload a day",
    ),
    Case(
        "More uploads than the phase takes", "submissions --uploaded first --day 2026-04-02 --in-all 1", says="in all"
    ),
    Case("A day without a submission", "submissions --day 2026-04-01", says="--uploaded"),
    Case(
        "Files that are not those of the manifest",
        "submissions --uploaded mixed --day 2026-04-03",
        mixed_submission,
        "is not the file that",
    ),
]
