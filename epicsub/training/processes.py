"""The processes of a run: `train.nodes` times `train.devices`, whoever starts them.

A run on one node starts its other processes by itself, unless a step of srun or torchrun has started as many. On
several nodes one of these has. `auto` takes what they have started; without them, one node with all its GPUs.

Slurm's variables in an interactive job, or WORLD_SIZE and RANK left in a shell, speak of processes that nobody started
here: who follows them waits for ever. So srun is believed where its task is this process or one that has started it,
and nobody types at it; what is not followed is told.
"""

import logging
import os
import warnings
from dataclasses import replace
from datetime import timedelta
from typing import NamedTuple

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.strategies import DDPStrategy

from epicsub.errors import TrainingError
from epicsub.progress import STARTED_BY, process_number
from epicsub.recipe import LoadedRecipe
from epicsub.recipe.train import Train
from epicsub.text import counted
from epicsub.training.slurm import SLURM_STEP, Started, number_of, of_step

TORCHRUN = "TORCHELASTIC_RUN_ID"
UNASKED = (
    "SLURM_NTASKS", SLURM_STEP, "SLURM_ARRAY_TASK_COUNT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "PMI_SIZE", "PMI_RANK",
    "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
)  # fmt: skip
FABRICS_OWN = ("LT_ACCELERATOR", "LT_DEVICES", "LT_NUM_NODES", "LT_PRECISION", "LT_STRATEGY")
PATIENCE = timedelta(minutes=10)
"""How long a process waits for the others, as a run begins and in each exchange."""

log = logging.getLogger(__name__)


class RunEnvironment(LightningEnvironment):  # type: ignore[misc]  # Lightning is not typed for us
    """What Fabric asks about the processes of a run."""

    def __init__(
        self, number: int = 0, started: bool = False, address: str = "127.0.0.1", port: int | None = None, node: int = 0
    ):
        """State where this process stands.

        Args:
            number: of this process on its node, from 0.
            started: whether all processes run already; else Fabric starts the others.
            address: of the first process.
            port: of the first process; None for any that is free.
            node: number of this node, from 0.
        """
        super().__init__()
        self.number, self.started, self.address, self.node = number, started, address, node
        self._main_port = find_free_network_port() if port is None else port

    @property
    def creates_processes_externally(self) -> bool:
        """Whether Fabric has none to start."""
        return self.started

    @property
    def main_address(self) -> str:
        """Where the processes meet."""
        return self.address

    def local_rank(self) -> int:
        """Number of this process on its node.

        Returns:
            From 0.
        """
        return self.number

    def node_rank(self) -> int:
        """Number of this node.

        Returns:
            From 0.
        """
        return self.node


class _Place(NamedTuple):
    """Where this process stands in a run."""

    nodes: int
    devices: int
    """Of each node."""
    environment: RunEnvironment

    @property
    def number(self) -> int:
        return self.environment.node * self.devices + self.environment.number


def join_processes(train: Train) -> Train:
    """Find out which process of a run this is; from then on `process_number` says it. Log what is not followed.

    Args:
        train: of the recipe.

    Returns:
        The section with numbers for `auto`.

    Raises:
        TrainingError: several processes were started, but not one per device, or none where several nodes need them.
    """
    place = _place(train)
    if place.nodes * place.devices > 1:
        if not _started_by_the_first():
            os.environ[STARTED_BY] = f"{os.getpid()}:{place.number}"  # for the processes that this one starts, too
    else:
        os.environ.pop(STARTED_BY, None)
    found = [f"{name}={os.environ[name]}" for name in UNASKED if os.environ.get(name, "1") not in ("", "0", "1")]
    if found and not place.environment.started:
        count = place.nodes * place.devices
        log.info(
            "train.devices is %s: %s; not followed: %s",
            train.devices, "one process" if count == 1 else f"{count} processes", ", ".join(found),
        )  # fmt: skip
    return train.model_copy(update={"nodes": place.nodes, "devices": place.devices})


def with_processes(loaded: LoadedRecipe, train: Train) -> LoadedRecipe:
    """Write the numbers of nodes and devices into a recipe.

    Args:
        loaded: the recipe.
        train: its section, from `join_processes`.

    Returns:
        The recipe.
    """
    return replace(loaded, recipe=loaded.recipe.model_copy(update={"train": train}))


def make_fabric(train: Train, alone: bool = False) -> Fabric:
    """Set up device, precision and processes.

    Args:
        train: the recipe's section.
        alone: one process, where the steps of a recipe are tried.

    Returns:
        Fabric, not launched.

    Raises:
        TrainingError: see `join_processes`.
    """
    for name in FABRICS_OWN:  # Fabric would take them in place of the recipe's
        os.environ.pop(name, None)
    place = _Place(1, 1, RunEnvironment()) if alone else _place(train)
    if place.environment.started and process_number() == 0:
        log.info(
            "%s meet at %s:%d, and wait for each other for at most %d minutes",
            counted(place.nodes * place.devices, "process", "processes"), place.environment.address,
            place.environment.main_port, PATIENCE.seconds // 60,
        )  # fmt: skip
    several = place.nodes * place.devices > 1
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The `srun` command is available")  # decided here, not by Fabric
        return Fabric(
            accelerator=train.accelerator,
            devices=place.devices,
            num_nodes=place.nodes,
            precision=train.precision,
            strategy=DDPStrategy(timeout=PATIENCE) if several else "auto",
            plugins=[place.environment],
        )


def launch(fabric: Fabric) -> None:
    """Start the processes of a run, or meet those that run already.

    Args:
        fabric: of `make_fabric`.

    Raises:
        TrainingError: not all of them came.
    """
    try:
        fabric.launch()
    except (RuntimeError, OSError) as error:
        if fabric.world_size == 1:
            raise
        raise TrainingError(
            f"the {fabric.world_size} processes of this run did not meet within {PATIENCE.seconds // 60} minutes "
            f"({str(error).splitlines()[0][:200]}). Each must run `epicsub train` with the same recipe, on nodes that "
            "reach each other; MASTER_ADDR and MASTER_PORT name another meeting place"
        ) from error


def _place(train: Train) -> _Place:
    nodes, devices = train.nodes, train.devices
    if (nodes, devices) == (1, 1):
        return _Place(1, 1, RunEnvironment())
    if _started_by_the_first():
        own = 1 if nodes == "auto" else nodes, _here(train) if devices == "auto" else devices
        return _Place(*own, RunEnvironment(process_number(), True, port=number_of("MASTER_PORT")))
    started = _of_torchrun() or of_step()
    if started is None or started.processes == 1:
        own = 1 if nodes == "auto" else nodes, _here(train) if devices == "auto" else devices
        if own[0] > 1:
            raise TrainingError(
                f"train.nodes: is {nodes}, and epicsub starts processes on one node alone: run it by `srun epicsub "
                "train ...` in a job of as many nodes (slurm/train.sbatch does), or by torchrun; nothing was started"
            )
        return _Place(*own, RunEnvironment())
    own = started.nodes if nodes == "auto" else nodes, started.per_node if devices == "auto" else devices
    if own != (started.nodes, started.per_node):
        raise TrainingError(_other(started, nodes, devices))
    return _Place(*own, RunEnvironment(started.local, True, started.address, port=started.port, node=started.node))


def _here(train: Train) -> int:
    """Devices of this machine that `auto` takes: all GPUs, or one CPU."""
    gpus = torch.cuda.device_count() if train.accelerator in ("auto", "cuda") and torch.cuda.is_available() else 0
    return max(1, gpus)


def _other(started: Started, nodes: int | str, devices: int | str) -> str:
    keys = f"train.devices: is {devices}" + (f" and train.nodes {nodes}" if nodes != 1 or started.nodes > 1 else "")
    where = f" on {counted(started.nodes, 'node', 'nodes')}" if started.nodes > 1 or nodes != 1 else ""
    return (
        f"{keys}, but {started.by} has started {started.processes} processes{where}: start as many on each node as it "
        f"has devices, or write auto for both; without {started.by}, epicsub starts those of one node by itself. "
        "Nothing was started"
    )


def _of_torchrun() -> Started | None:
    world = number_of("WORLD_SIZE")
    if TORCHRUN not in os.environ or world is None:
        return None
    per_node = number_of("LOCAL_WORLD_SIZE") or world
    rank = number_of("RANK") or 0
    address = os.environ.get("MASTER_ADDR", "127.0.0.1")
    return Started(
        "torchrun", max(1, world // per_node), per_node, rank // per_node, rank % per_node, address,
        number_of("MASTER_PORT"),
    )  # fmt: skip


def _started_by_the_first() -> bool:
    return os.environ.get(STARTED_BY, "").startswith(f"{os.getppid()}:")
