"""What epicsub is made of: licences of its dependencies, known vulnerabilities, and check sums of what pip fetched.

    python benchmarks/supply.py licences        # of every dependency that is installed here, extras included
    python benchmarks/supply.py audit           # known vulnerabilities of requirements.lock, by pip-audit
    python benchmarks/supply.py check REPORT    # files that `pip install --report REPORT` fetched, against the record
    python benchmarks/supply.py record          # writes requirements.hashes anew, from the package index

The standard library alone, besides pip: `make setup` runs it before anything is installed.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK, HASHES = ROOT / "requirements.lock", ROOT / "requirements.hashes"
HEAD = (
    "# SHA-256 of the files of each version in requirements.lock, as the package index states them; see SECURITY.md.\n"
)
PYTHONS = re.compile(r"-(py3|py31[1-4]|py2\.py3|cp3|cp311|cp312|cp313|cp314|abi3)[.-]|\.tar\.gz$|\.zip$")


def locked(path: Path = LOCK) -> dict[str, str]:
    """Version by name."""
    lines = (line.split("#")[0].split(";")[0].strip() for line in path.read_text().splitlines())
    return {plain(name): version for name, _, version in (line.partition("==") for line in lines if line)}


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def recorded(path: Path = HASHES) -> dict[str, set[str]]:
    """Check sums by name and version."""
    found: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        if line and not line.startswith("#"):
            requirement, *sums = line.split()
            found[requirement] = set(sums)
    return found


def version_of(file: str) -> str:
    """Version in the name of a wheel or of a source archive."""
    if file.endswith(".whl"):
        return file.split("-")[1]
    return re.sub(r"\.(tar\.gz|zip)$", "", file).rpartition("-")[2]


def licences() -> int:
    """Names, versions and licences; 1 where one is not stated."""
    rows = []
    for distribution in sorted(needed(), key=lambda one: plain(one.name)):
        facts = distribution.metadata
        classes = [
            value.rpartition(" :: ")[2] for value in facts.get_all("Classifier", []) if value.startswith("License")
        ]
        said = facts.get("License-Expression") or ", ".join(classes) or (facts.get("License") or "").splitlines()[:1]
        text = said if isinstance(said, str) else "".join(said)
        rows.append((distribution.name, distribution.version, text or "not stated"))
    width = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, version, text in rows:
        print(f"{name:{width[0]}}  {version:{width[1]}}  {text[:100]}")
    missing = [name for name, _, text in rows if text == "not stated"]
    print(f"{len(rows)} packages, {len(missing)} without a stated licence: {', '.join(missing) or 'none'}")
    return 0


def needed() -> list[metadata.Distribution]:
    """Everything that epicsub and its extras need and that is installed here."""
    waiting, found = ["epicsub"], {}
    while waiting:
        name = plain(waiting.pop())
        if name in found:
            continue
        try:
            found[name] = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        waiting += [match[0] for one in found[name].requires or [] if (match := re.match(r"[A-Za-z0-9._-]+", one))]
    found.pop("epicsub", None)
    return list(found.values())


def audit() -> int:
    """Run pip-audit on the lock; 2 where it is not installed, or reaches no list of vulnerabilities."""
    words = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--no-deps", "--disable-pip"]
    done = subprocess.run([*words, "--progress-spinner", "off"], capture_output=True, text=True, check=False)
    if "No module named" in done.stderr:
        print("audit: pip-audit is not installed: pip install pip-audit, and run `make audit` again", file=sys.stderr)
        return 2
    print(done.stdout, end="")
    if done.returncode and not done.stdout.strip():
        print(
            "audit: NOT DONE: pip-audit reaches no list of vulnerabilities from here (a mirror of the package "
            "index has none); run `make audit` on a machine that reaches the index itself",
            file=sys.stderr,
        )
        return 2
    return done.returncode


def check(report: dict[str, Any], known: dict[str, set[str]]) -> list[str]:
    """What pip fetched and the record does not hold; a line each."""
    problems = []
    for one in report["install"]:
        name, version = plain(one["metadata"]["name"]), one["metadata"]["version"]
        source = one["download_info"]
        if "dir_info" in source:  # epicsub itself
            continue
        archive = source.get("archive_info", {})
        found = archive.get("hashes", {}).get("sha256") or archive.get("hash", "").partition("=")[2]
        if "+" in version or not found:  # of another index, such as torch's for CPUs; or built on this machine before
            print(f"{name}=={version}: not checked, {HASHES.name} holds what the package index has", file=sys.stderr)
            continue
        sums = known.get(f"{name}=={version}")
        if sums is None:  # of another platform, or of a Python that needs more
            print(f"{name}=={version}: not checked, {LOCK.name} has no such version", file=sys.stderr)
        elif found not in sums:
            file = source["url"].rpartition("/")[2]
            problems.append(f"{name}=={version}: {file} has SHA-256 {found}, which the record does not hold")
    return problems


def record() -> int:
    """Write the check sums that the index states for each version of the lock."""
    # only this command asks the index; pip knows where it is and how to reach it
    from pip._internal.commands import create_command
    from pip._internal.index.collector import parse_links
    from pip._internal.models.link import Link

    command: Any = create_command("download")
    options, _ = command.parse_args([])
    collector = command._build_package_finder(options, command._build_session(options))._link_collector
    index = collector.search_scope.index_urls[0].rstrip("/")
    lines, without = [], []
    for name, version in locked().items():
        page = collector.fetch_response(Link(f"{index}/{name}/"))
        links = [link for link in (parse_links(page) if page else ()) if version_of(link.filename) == version]
        links = [link for link in links if PYTHONS.search(link.filename)]
        sums = sorted({link.hash for link in links if link.hash_name == "sha256" and link.hash})
        lines.append(" ".join([f"{name}=={version}", *sums]) + "\n")
        without += [] if sums else [name]
    HASHES.write_text(HEAD + "".join(lines))
    print(
        f"{len(lines)} packages, {sum(line.count(' ') for line in lines)} files; none: {', '.join(without) or 'none'}"
    )
    return int(bool(without))


def main(words: Iterable[str]) -> int:
    parser = argparse.ArgumentParser(
        "supply", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("licences", "audit", "check", "record"))
    parser.add_argument("report", nargs="?", type=Path)
    options = parser.parse_args(list(words))
    if options.what == "check":
        problems = check(json.loads(options.report.read_text()), recorded())
        for line in problems:
            print(line, file=sys.stderr)
        if problems:
            print("remove .venv, and run `make setup` again from an index that you trust", file=sys.stderr)
        return int(bool(problems))
    return {"licences": licences, "audit": audit, "record": record}[options.what]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
