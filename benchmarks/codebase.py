"""Size and shape of the package, what a command runs of it, how often it reads a checkpoint, and seconds of a start.

    python benchmarks/codebase.py --json benchmarks/results/codebase.json
    python benchmarks/codebase.py --tree ../epicsub-0.1.0 --json benchmarks/results/codebase_before.json

The second line measures another checkout (`git worktree add ../epicsub-0.1.0 cdf96a5`) with the same definitions:

- *_code_lines: lines without blank ones, comments and docstrings
- import_circles: groups of files that import each other, imports inside functions included
- train_files, validate_files, submit_files: files in which the body of a function ran in this process, in a command on
  small synthetic kitchens (an RGB and flow I3D with MMIR, twelve steps); *_lines, *_code_lines: of those files
- checkpoint_reads_*: calls of `torch.load` on a .pth, per target
- index_reads_per_video: calls of `read_index` on the prepared store in three training steps, per index file
- help_seconds, import_seconds: `epicsub --help` with the interpreter's start and `import epicsub` without it, the best
  of five new processes
"""

import ast
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Iterator
from pathlib import Path

from machine import benchmark_parser, here, write_figures

TREE = Path(__file__).resolve().parents[1]
SMALL_FILE = 50
PROTOCOL = """\
name: small
training_list: EPIC_100_train.csv
validation: {list: EPIC_100_validation.csv, count: 24}
test: {list: EPIC_100_test_timestamps.csv, count: 20}
tail_verbs: EPIC_100_tail_verbs.csv
tail_nouns: EPIC_100_tail_nouns.csv
unseen_validation: EPIC_100_unseen_participant_ids_validation.csv
selection: training labels only
"""
SYNTH = "data synth kitchens --train 48 --heldout 12 --validation 24 --test 20"
SHORT = (
    "train.stages.0.source_batch=5 train.stages.1.source_batch=5 train.stages.1.target_batch=10 train.log_every=1 "
    "train.checkpoint_every=3 model.width=0.0625 data.workers=0 --data kitchens"
)
LISTS = "--protocol small.yaml --data kitchens"
ENVIRONMENT = {"COLUMNS": "120", "TERM": "dumb", "NO_COLOR": "1"}


def main() -> None:
    """Count, run, print."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--tree", type=Path, default=TREE, help="the checkout to measure")
    arguments = parser.parse_args()
    tree = arguments.tree.resolve()
    figures = size(tree) | commands(tree) | seconds(tree)
    for name, value in figures.items():
        print(f"{name:32s} {value:g}")
    commit = subprocess.run(
        ["git", "-C", tree, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    )
    asked = [sys.executable, "-c", "import epicsub; print(epicsub.__version__)"]
    version = subprocess.run(asked, cwd=tree, capture_output=True, text=True, check=True)
    versions = {"epicsub": version.stdout.strip(), "commit": commit.stdout.strip()}
    write_figures(arguments.json, figures, versions=here()["versions"] | versions)


def size(tree: Path) -> dict[str, float]:
    """Files, lines, imports inside functions and circles of the package; files and lines of its tests."""
    package = tree / "epicsub"
    texts = {path.relative_to(package): path.read_text() for path in sorted(package.rglob("*.py"))}
    lines = {path: len(text.splitlines()) for path, text in texts.items()}
    trees = {path: ast.parse(text) for path, text in texts.items()}
    figures: dict[str, float] = {
        "package_files": len(texts),
        "package_lines": sum(lines.values()),
        "package_code_lines": sum(code_lines(text) for text in texts.values()),
        "small_files": sum(number < SMALL_FILE for number in lines.values()),
        "function_imports": sum(function_imports(parsed) for parsed in trees.values()),
        "import_circles": len(circles(trees)),
    }
    for part in sorted({path.parts[0] for path in texts if len(path.parts) > 1}):
        inside = [path for path in texts if path.parts[0] == part]
        figures[f"{part}_package_files"] = len(inside)
        figures[f"{part}_package_lines"] = sum(lines[path] for path in inside)
    tests = [path.read_text() for path in (tree / "tests").rglob("*.py")]
    return figures | {"tests_files": len(tests), "tests_lines": sum(len(text.splitlines()) for text in tests)}


def code_lines(text: str) -> int:
    """Lines that hold more than blanks, comments and docstrings."""
    docstrings = {
        line
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    lines = {line for token in tokens if token.type not in nothing for line in range(token.start[0], token.end[0] + 1)}
    return len(lines - docstrings)


def function_imports(parsed: ast.Module) -> int:
    """Import statements inside functions."""
    functions = [node for node in ast.walk(parsed) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return len({n for function in functions for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)})


def circles(trees: dict[Path, ast.Module]) -> list[set[str]]:
    """Groups of files that reach each other by imports, wherever these stand."""
    names = {".".join(("epicsub", *path.with_suffix("").parts)).removesuffix(".__init__"): path for path in trees}
    edges = {name: {file for file in imported(trees[path]) if file in names} for name, path in names.items()}
    reached = {name: set(_reach(name, edges)) for name in names}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in names}
    return [set(group) for group in groups if len(group) > 1]


def imported(parsed: ast.Module) -> Iterator[str]:
    """Dotted names that may be files: `from a.b import c` names a.b.c and a.b."""
    for node in ast.walk(parsed):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _reach(name: str, edges: dict[str, set[str]]) -> set[str]:
    found, waiting = set(), [name]
    while waiting:
        new = edges[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def commands(tree: Path) -> dict[str, float]:
    """What training, validation and submission run and read on small synthetic kitchens."""
    recipe = tree / "recipes" / "tiny" / "mmir_i3d.yaml"
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        (place / "small.yaml").write_text(PROTOCOL)
        for words in (SYNTH, "data flow --data kitchens"):
            epicsub(tree, place, words)
        for name, words in {
            "train": f"train {recipe} train.stages.0.steps=4 train.stages.1.steps=8 {SHORT} --out outputs/short",
            "validate": f"validate short {LISTS}",
            "submit": f"submit short {LISTS}",
        }.items():
            found = traced(tree, place, words)
            figures[f"{name}_files"] = len(found["files"])
            texts = [Path(file).read_text() for file in found["files"]]
            figures[f"{name}_lines"] = sum(len(text.splitlines()) for text in texts)
            figures[f"{name}_code_lines"] = sum(code_lines(text) for text in texts)
            figures[f"checkpoint_reads_{name}"] = found["checkpoint_reads"]
        epicsub(tree, place, "data prepare --data kitchens")
        words = f"train {recipe} train.stages.0.steps=1 train.stages.1.steps=2 {SHORT} --out outputs/prepared"
        found = traced(tree, place, words)
        figures["index_reads_per_video"] = found["index_reads"] / max(1, found["indices"])
    return figures


def traced(tree: Path, place: Path, words: str) -> dict:
    """What benchmarks/codebase_trace.py writes of a command."""
    out = place / "trace.json"
    script = [sys.executable, Path(__file__).with_name("codebase_trace.py"), out, tree / "epicsub"]
    run([*map(str, script), *words.split()], tree, place)
    return json.loads(out.read_text())


def epicsub(tree: Path, place: Path, words: str) -> None:
    """Run a command of the tree's."""
    run([sys.executable, "-m", "epicsub", *words.split()], tree, place)


def seconds(tree: Path) -> dict[str, float]:
    """The shortest of five starts."""
    starts, imports = [], []
    clocked = "import time; start = time.perf_counter(); import epicsub; print(time.perf_counter() - start)"
    for _ in range(5):
        start = time.perf_counter()
        run([sys.executable, "-m", "epicsub", "--help"], tree, tree)
        starts.append(time.perf_counter() - start)
        imports.append(float(run([sys.executable, "-c", clocked], tree, tree)))
    return {"help_seconds": round(min(starts), 3), "import_seconds": round(min(imports), 4)}


def run(words: list[str], tree: Path, place: Path) -> str:
    """Run a process with the tree's package; what it printed.

    Raises:
        SystemExit: It failed, with what it printed.
    """
    environment = os.environ | ENVIRONMENT | {"PYTHONPATH": str(tree)}
    done = subprocess.run(words, cwd=place, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
