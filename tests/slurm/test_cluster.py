"""A real Slurm of two nodes on this machine: requeue, loss of a process, scancel, other code, arrays."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml

from epicsub.data.annotations import read_segments
from epicsub.data.features.store import FeatureStore
from epicsub.recipe import load_recipe
from epicsub.synth import SynthSettings, make_kitchens

pytestmark = pytest.mark.skipif(
    shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin") is None,
    reason="no Slurm here (.ci/system_packages installs it)",
)
PATIENCE = 600  # seconds; a job takes twenty on a quiet machine


class Cluster:
    """Commands of the cluster, and a folder with data, a recipe and the site's settings."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder, self.repository = folder, repository
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))},
            "SLURM_CONF": str(folder / "slurm/slurm.conf"),
            "EPICSUB_SITE": str(folder / "site.env"),
        }

    def ask(self, *words: object) -> str:
        done = subprocess.run(
            [str(word) for word in words], cwd=self.repository, env=self.environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def submit(self, file: str, *words: object, nodes: int = 1, options: tuple[str, ...] = ()) -> str:
        """The job's number; it writes JOB.log."""
        sizes = (f"--nodes={nodes}", f"--ntasks={nodes}", "--cpus-per-task=1", "--gpus-per-node=0", "--mem=100")
        log = f"--output={self.folder}/%j.log"
        return self.ask("sbatch", "--parsable", log, "--time=20", *sizes, *options, f"slurm/{file}.sbatch", *words)

    def train(self, out: str, *words: object, nodes: int = 1, steps: int = 150) -> str:
        settings = (f"train.stages.1.steps={steps}", "train.log_every=1", "train.checkpoint_every=100000", *words)
        place = ("--data", self.folder / "data", "--out", self.folder / out)
        return self.submit("train", "--restarts", 3, self.folder / "recipe.yaml", *settings, *place, nodes=nodes)

    def log(self, job: str) -> str:
        path = self.folder / f"{job}.log"
        return path.read_text() if path.is_file() else ""

    def until(self, job: str, ready) -> None:
        end = time.monotonic() + PATIENCE
        while not ready():
            assert time.monotonic() < end, f"job {job} {self.state(job)}: {self.log(job)}"
            time.sleep(0.2)

    def state(self, job: str) -> str:
        shown = dict(word.partition("=")[::2] for word in self.ask("scontrol", "show", "job", "-o", job).split())
        return shown["JobState"]

    def ended(self, job: str) -> str:
        """The job's last state; one that is queued again begins soon."""

        def over() -> bool:
            state = self.state(job)
            if state == "PENDING":
                self.begin(job)
            return state not in ("PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED")

        self.until(job, over)
        return self.state(job)

    def begin(self, job: str) -> None:
        """Begin a job that waits, before Slurm's two minutes are over; a node takes it only after the old one's end."""
        time.sleep(5)
        subprocess.run(
            ["scontrol", "update", f"JobId={job}", "StartTime=now"],
            env=self.environment, capture_output=True, check=False,
        )  # fmt: skip

    def steps(self, out: str) -> int:
        path = self.folder / out / "metrics.jsonl"
        return len(path.read_text().splitlines()) if path.is_file() else 0

    def weights(self, out: str) -> dict[str, torch.Tensor]:
        return torch.load(self.folder / out / "last.pth", weights_only=True)["model"]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    found = Cluster(folder, repository)
    tool = str(repository / "tests/slurm/slurm-cluster")
    subprocess.run([tool, "start", str(folder / "slurm")], check=True, capture_output=True, timeout=60)
    try:
        make_data(folder)
        starter = folder / "bin/epicsub"
        starter.parent.mkdir()
        starter.write_text(f'#!/bin/bash\nexec {sys.executable} -P -m epicsub "$@"\n')
        starter.chmod(0o755)
        (folder / "site.env").write_text(
            f"export PATH={folder}/bin:$PATH PYTHONPATH={repository} OMP_NUM_THREADS=1 EPICSUB_DATA={folder}/data\n"
        )
        yield found
    finally:
        subprocess.run(["scancel", "--user", str(os.getuid())], env=found.environment, check=False, timeout=60)
        time.sleep(2)
        subprocess.run([tool, "stop", str(folder / "slurm")], check=True, timeout=60)


def make_data(top: Path) -> None:
    """Kitchens with made-up features, and MMIR on them."""
    folder = top / "data"
    make_kitchens(folder, SynthSettings(train=24, heldout=12, validation=12, test=12), workers=1)
    tables = folder / "annotations"
    lists = ("EPIC_100_train.csv", "EPIC_100_validation.csv", "EPIC_100_test_timestamps.csv")
    ids = [segment.narration_id for name in lists for segment in read_segments(tables / name)]
    generator = torch.Generator().manual_seed(0)
    features = {name: torch.randn(len(ids), 256, generator=generator) for name in ("rgb", "flow")}
    FeatureStore(folder / "features/source_only", {"model": "made up"}).add(ids, features)
    content = load_recipe("tiny/features_mmir").recipe.model_dump(mode="json")
    for stage in content["train"]["stages"]:
        stage.update(steps=5, source_batch=10, target_batch=10 if stage["target_batch"] else 0)
    content["adaptation"].update(replay_size=30, replay_batch=6)
    (top / "recipe.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_run_that_is_cut_goes_on_by_itself_and_ends_as_the_whole_one(cluster: Cluster, nodes: int) -> None:
    whole = cluster.train(f"whole_{nodes}", nodes=nodes)
    assert cluster.ended(whole) == "COMPLETED", cluster.log(whole)
    cut = cluster.train(f"cut_{nodes}", nodes=nodes)
    cluster.until(cut, lambda: cluster.steps(f"cut_{nodes}") > 20)
    cluster.ask("scancel", "--signal=USR1", cut)  # as Slurm does before a job's time limit
    assert cluster.ended(cut) == "COMPLETED", cluster.log(cut)
    log = cluster.log(cut)
    assert log.count("stopped by SIGUSR1 after step") == 1, log
    assert "queued again (1 of at most 3 times)" in log
    assert "resuming from step" in log
    before, after = cluster.weights(f"whole_{nodes}"), cluster.weights(f"cut_{nodes}")
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_the_loss_of_a_process_is_named_and_the_run_goes_on(cluster: Cluster) -> None:
    job = cluster.train("lost", nodes=2)
    cluster.until(job, lambda: cluster.steps("lost") > 20)
    cluster.ask("scancel", "--signal=USR1", job)
    cluster.until(job, lambda: "queued again" in cluster.log(job))
    cluster.until(job, lambda: cluster.state(job) == "PENDING")
    cluster.begin(job)
    seen = cluster.steps("lost")
    cluster.until(job, lambda: cluster.steps("lost") > seen)
    os.kill(process_of(job, "b"), 9)
    assert cluster.ended(job) == "COMPLETED", cluster.log(job)
    log = cluster.log(job)
    assert "process 1 on b no longer answers: it was killed, or its node is down. Process 0 on a ends too" in log
    assert "queued again (2 of at most 3 times)" in log


def test_a_cancelled_run_leaves_nothing_within_ten_seconds(cluster: Cluster) -> None:
    job = cluster.train("cancelled", nodes=2, steps=100000)
    cluster.until(job, lambda: cluster.steps("cancelled") > 5)
    cluster.ask("scancel", job)
    time.sleep(10)
    assert not processes_of(job)
    assert cluster.state(job) == "CANCELLED"
    left = [path.name for path in (cluster.folder / "cancelled").glob(".*")]
    assert not left
    again = cluster.train("cancelled", nodes=2, steps=100000)  # whose folder nobody holds
    cluster.until(again, lambda: "resuming from step" in cluster.log(again))
    cluster.ask("scancel", again)


def test_a_node_with_other_code_is_refused(cluster: Cluster) -> None:
    other = cluster.folder / "other"
    shutil.copytree(cluster.repository / "epicsub", other / "epicsub")
    for name in ("recipes", "validation"):
        (other / name).symlink_to(cluster.repository / name)
    with (other / "epicsub/constants.py").open("a") as file:
        file.write('\n__version__ = "0.0.1"\n')
    starter = cluster.folder / "bin/epicsub"
    plain = starter.read_text()
    starter.write_text(plain.replace("exec", f"[ $SLURMD_NODENAME = b ] && export PYTHONPATH={other}\nexec"))
    try:
        job = cluster.train("mixed", nodes=2)
        assert cluster.ended(job) == "FAILED"
    finally:
        starter.write_text(plain)
    assert "process 1 on b has epicsub 0.0.1 at commit" in cluster.log(job)
    assert "Install the same code on all nodes; nothing was started" in cluster.log(job)


def test_a_job_that_starts_no_tasks_is_one_process(cluster: Cluster) -> None:
    """As in an interactive job: Slurm's variables speak of two tasks, and srun has started none."""
    words = ["epicsub", "train", cluster.folder / "recipe.yaml", "train.devices=auto", "train.nodes=auto"]
    words += ["--data", cluster.folder / "data", "--out", cluster.folder / "alone"]
    script = cluster.folder / "alone.sh"
    script.write_text("#!/bin/bash\n. $EPICSUB_SITE\n" + " ".join(map(str, words)) + "\n")
    log = f"--output={cluster.folder}/%j.log"
    job = cluster.ask("sbatch", "--parsable", "--nodes=2", "--ntasks=2", log, script)
    assert cluster.ended(job) == "COMPLETED", cluster.log(job)
    assert "one process; not followed: SLURM_NTASKS=2" in cluster.log(job)


def test_an_array_prepares_in_shares(cluster: Cluster) -> None:
    job = cluster.submit("prepare", "--modality", "rgb", options=("--array=0-1",))
    end = time.monotonic() + PATIENCE
    while cluster.ask("squeue", "--noheader", "--jobs", job):
        assert time.monotonic() < end
        time.sleep(0.5)
    words = [sys.executable, "-m", "epicsub", "data", "prepare", "--modality", "rgb", "--merge", "2"]
    done = subprocess.run(
        [*words, "--data", str(cluster.folder / "data")],
        cwd=cluster.repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr + "".join(map(cluster.log, (job, str(int(job) + 1))))
    assert "all 2 shards are there" in done.stdout


def processes_of(job: str, node: str = "") -> list[int]:
    """Processes of a job's tasks, by the environment they were started in."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        names = {f"SLURM_JOB_ID={job}".encode()} | ({f"SLURMD_NODENAME={node}".encode()} if node else set())
        if names <= set(words) and any(word.startswith(b"SLURM_STEP_ID=") for word in words):
            found.append(int(path.parent.name))
    return found


def process_of(job: str, node: str) -> int:
    """The training process of a node."""
    names = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in processes_of(job, node)}
    return next(pid for pid, name in names.items() if "\0train\0" in name and "slurm" not in name.partition("\0")[0])
