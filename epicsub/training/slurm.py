"""What Slurm says of this process: the step of srun that has started it, and the job it is in."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from epicsub.progress import cores
from epicsub.text import counted

SLURM_STEP = "SLURM_STEP_NUM_TASKS"


class Started(NamedTuple):
    """Processes that somebody else has started, and where this one stands among them."""

    by: str
    nodes: int
    per_node: int
    """Processes of each node."""
    node: int
    """Number of this node, from 0."""
    local: int
    """Number of this process on its node, from 0."""
    address: str
    """Of the first process."""
    port: int | None
    """Of the first process; None where nobody said one."""

    @property
    def processes(self) -> int:
        """Of all nodes."""
        return self.nodes * self.per_node


def number_of(name: str) -> int | None:
    """Read a variable of the environment.

    Args:
        name: of the variable.

    Returns:
        None where it is no number.
    """
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None


def of_step() -> Started | None:
    """Find the step of srun that has started this process with others.

    Returns:
        None where there is none, or its variables are left from another process, or a user types here
            (`srun --pty`), whose other tasks are shells that nobody types at.
    """
    tasks = number_of(SLURM_STEP)
    if tasks is None or tasks < 2 or not _is_of_task() or ("SLURM_PTY_PORT" in os.environ and sys.stdin.isatty()):
        return None
    nodes = number_of("SLURM_STEP_NUM_NODES") or number_of("SLURM_NNODES") or 1
    layout = os.environ.get("SLURM_STEP_TASKS_PER_NODE") or os.environ.get("SLURM_NTASKS_PER_NODE") or ""
    per_node = _tasks_per_node(layout) or -(-tasks // nodes)
    job, step = number_of("SLURM_JOB_ID") or 0, number_of("SLURM_STEP_ID") or 0
    rank = number_of("SLURM_PROCID") or 0
    local = number_of("SLURM_LOCALID")
    node = number_of("SLURM_NODEID")
    return Started(
        "srun", nodes, per_node,
        rank // per_node if node is None else node,
        rank % per_node if local is None else local,
        os.environ.get("MASTER_ADDR") or (_first_node() if nodes > 1 else "127.0.0.1"),
        number_of("MASTER_PORT") or 15000 + (job + 101 * step) % 10000,  # one that all tasks of the step find
    )  # fmt: skip


def _tasks_per_node(layout: str) -> int | None:
    """Of `2(x3)` or `2`; None where nodes have different numbers, for which 2 of 2,1 would be wrong."""
    found = re.fullmatch(r"(\d+)(\(x\d+\))?", layout)
    return int(found[1]) if found else None


def _is_of_task() -> bool:
    """Whether this process is the task that Slurm's variables speak of, or was started by it."""
    task, own = number_of("SLURM_TASK_PID"), os.getpid()
    while task is not None and own > 1 and own != task:
        try:
            own = int(Path(f"/proc/{own}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
    return task is None or own == task


def _first_node() -> str:
    """Address of the step's first node: its name, or what Slurm knows where nobody else does."""
    from lightning_fabric.plugins.environments import SLURMEnvironment  # with torch

    listed = os.environ.get("SLURM_STEP_NODELIST") or os.environ.get("SLURM_NODELIST") or "127.0.0.1"
    name = str(SLURMEnvironment.resolve_root_node_address(listed))
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        said = ask("scontrol", "show", "node", "-o", name)
        found = re.search(r"NodeAddr=(\S+)", said or "")
        return found[1] if found else name
    return name


def ask(*words: str) -> str | None:
    """Run a command of Slurm.

    Args:
        words: the command.

    Returns:
        What it prints; None where it fails or is not there.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


def job_lines() -> list[str]:
    """Describe the job that this process is in.

    Returns:
        Lines on nodes, tasks, cores, GPUs, scratch and time left; none outside a job.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return []
    known = os.environ.get
    nodes = known("SLURM_NNODES") or known("SLURM_JOB_NUM_NODES") or "1"
    left = (ask("squeue", "--noheader", "--jobs", job, "--format=%L") or "").strip() or "unknown"
    scratch = known("TMPDIR") or "/tmp"
    free = f"{shutil.disk_usage(scratch).free / 1e9:.0f} GB free" if Path(scratch).is_dir() else "not there"
    gpus = known("SLURM_GPUS_ON_NODE") or "none"
    step = of_step()
    tasks = f"{step.processes} started by srun, {step.per_node} on each node" if step else "none started by srun here"
    return [
        f"job {job} on {counted(int(nodes), 'node', 'nodes')} ({known('SLURM_JOB_NODELIST', 'unknown')}), this is "
        f"{known('SLURMD_NODENAME') or socket.gethostname()}; time left {left}",
        f"job's tasks: {tasks} (SLURM_NTASKS {known('SLURM_NTASKS', '1')}); cores of a task: "
        f"{known('SLURM_CPUS_PER_TASK') or cores()}; GPUs of this node: {gpus}",
        f"job's scratch {scratch}: {free}; `epicsub data stage {scratch}/epic RECIPE` copies what a recipe reads there",
    ]
