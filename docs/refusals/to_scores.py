"""What goes wrong on the way from videos to scores."""

from trying import Case
from user_files import (
    SMALL,
    TEST_LIST,
    VALIDATION_LIST,
    copied,
    cut_checkpoint,
    half,
    other_checkpoint,
    pt,
    remove,
    run_of_another_seed,
    several,
    table,
    text,
    video,
)

TRAIN = "train recipes/tiny/source_only.yaml data.workers=0 train.log_every=1 model.width=0.0625"

RECIPES = [
    Case(
        "A misspelt key",
        "train typo.yaml",
        copied("recipes/tiny/mmir_i3d.yaml", "typo.yaml", "learning_rate", "learing_rate"),
        "did you mean",
    ),
    Case("A misspelt setting on the command line", f"{TRAIN} train.clip_gradd=1", says="did you mean train.clip_grad"),
    Case(
        "Several problems are said at once", f"{TRAIN} data.frames=-4 data.size=500 model.dropout=two", says="problems"
    ),
    Case(
        "A batch that the agents cannot divide",
        "train recipes/tiny/mmir_i3d.yaml train.stages.1.target_batch=3",
        says="target_batch",
    ),
    Case(
        "No such recipe",
        "train mine/mmir.yaml",
        copied("recipes/mmir_i3d.yaml", "mine/mmir_i3d.yaml"),
        "did you mean mine/mmir_i3d.yaml",
    ),
    Case(
        "Weights that nobody has",
        "train recipes/tiny/mmir_i3d.yaml model.weights.rgb=nowhere.pt --data kitchens --out outputs/w",
        says="nowhere.pt",
    ),
]

DATA = [
    Case("No data there", f"{TRAIN} --data nowhere", says="nowhere"),
    Case(
        "A table without a column",
        f"{TRAIN} --data k_column --out outputs/c",
        table("EPIC_100_train.csv", lambda t: t.drop(columns="noun_class"), "k_column"),
        "noun_class",
    ),
    Case(
        "A list without its labels",
        f"{TRAIN} data.source=[{TEST_LIST}] --data kitchens --out outputs/l",
        says=TEST_LIST,
    ),
    Case(
        "A video that is missing",
        f"{TRAIN} --data k_missing --out outputs/m",
        video(remove, "k_missing"),
        "nothing was started",
    ),
    Case(
        "A video that was cut off",
        f"{TRAIN} data.decoder=pyav --data k_half --out outputs/h",
        video(half, "k_half"),
        ".MP4",
    ),
    Case(
        "Flow that was not computed yet",
        f"{TRAIN} --data k_flow --out outputs/f",
        video(remove, "k_flow", "flow"),
        "epicsub data flow",
    ),
    Case("A folder that cannot be written", "data synth file/kitchens", text("file", ""), "file"),
]

RUNS = [
    Case(
        "Going on with other settings",
        "train recipes/tiny/mmir_i3d.yaml seed=5 --data kitchens --out outputs/changed",
        run_of_another_seed,
        "--no-resume",
    ),
    Case(
        "A loss that is no number",
        f"{TRAIN} train.stages.0.learning_rate=1e18 train.clip_grad=null --data kitchens --out outputs/n",
        says="source batch",
    ),
    Case("A run that is not there", f"validate shrot {SMALL}", says="short"),
    Case("The same run twice", f"validate short outputs/short {SMALL}", says="2 times"),
    Case(
        "A file that is no checkpoint",
        f"validate wrong.pth {SMALL}",
        other_checkpoint,
        "not a checkpoint",
    ),
    Case(
        "A checkpoint that was cut off",
        f"validate half.pth {SMALL}",
        cut_checkpoint,
        "damaged",
    ),
    Case("Views that cannot be read", f"predict short --split test --tta 5+3 -o x.npz {SMALL}", says="5+3"),
    Case("Predictions of an unknown kind", f"predict short --split test -o x.csv {SMALL}", says=".csv"),
]

VALIDATION = [
    Case(
        "No such protocol",
        "validate member.pt --protocol rules/ek10.yaml --data kitchens",
        several(pt("member.pt"), copied("validation/ek100.yaml", "rules/ek100.yaml")),
        "no such protocol",
    ),
    Case(
        "A misspelt key of a protocol",
        "validate member.pt --protocol typo_p.yaml --data kitchens",
        copied("small.yaml", "typo_p.yaml", "tail_nouns", "tail_noun"),
        "did you mean",
    ),
    Case(
        "Another count than the protocol's",
        "validate member.pt --protocol validation/ek100.yaml --data kitchens",
        pt("member.pt", ids=VALIDATION_LIST),
        "--count 24",
    ),
    Case("Predictions of another list", f"validate member.pt {SMALL}", pt("member.pt"), "not in the labelled list"),
    Case(
        "A list that has no labels to score by",
        "validate member.pt --protocol no_labels.yaml --data kitchens",
        copied("small.yaml", "no_labels.yaml", VALIDATION_LIST, TEST_LIST),
        "labels",
    ),
]
