"""The processes of a run, which the recipe's `train.devices` decides on, not the environment.

Slurm's variables in an interactive job, or WORLD_SIZE and RANK left in a shell, speak of processes that nobody started.
So a run on one device is one process, whatever stands there. A run on several starts the others by itself, unless
torchrun or a step of srun has started as many.
"""

import logging
import os

from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from lightning_fabric.plugins.environments.lightning import find_free_network_port

from epicsub.errors import TrainingError
from epicsub.progress import STARTED_BY, process_number
from epicsub.recipe.train import Train

SLURM_STEP, TORCHRUN = "SLURM_STEP_NUM_TASKS", "TORCHELASTIC_RUN_ID"
UNASKED = (
    "SLURM_NTASKS", SLURM_STEP, "SLURM_ARRAY_TASK_COUNT", "WORLD_SIZE", "RANK", "LOCAL_RANK", "PMI_SIZE", "PMI_RANK",
    "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK",
)  # fmt: skip
FABRICS_OWN = ("LT_ACCELERATOR", "LT_DEVICES", "LT_NUM_NODES", "LT_PRECISION", "LT_STRATEGY")

log = logging.getLogger(__name__)


class RunEnvironment(LightningEnvironment):  # type: ignore[misc]  # Lightning is not typed for us
    """What Fabric asks about the processes of a run on one machine."""

    def __init__(self, number: int = 0, started: bool = False, address: str = "127.0.0.1", port: int | None = None):
        """State where this process stands.

        Args:
            number: of this process, from 0.
            started: whether all processes run already; else Fabric starts the others.
            address: of the first process.
            port: of the first process; None for any that is free.
        """
        super().__init__()
        self.number, self.started, self.address = number, started, address
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
        """Number of this process.

        Returns:
            From 0.
        """
        return self.number

    def node_rank(self) -> int:
        """Number of this machine.

        Returns:
            0: a run is on one.
        """
        return 0


def join_processes(devices: int) -> None:
    """Find out which process of a run this is; from then on `process_number` says it. Log what is not followed.

    Args:
        devices: `train.devices` of the recipe.

    Raises:
        TrainingError: several processes were started, but not one per device.
    """
    number = _environment(devices).number
    if devices > 1:
        if not _started_by_the_first():
            os.environ[STARTED_BY] = f"{os.getpid()}:{number}"  # for the processes that this one starts, too
        return
    os.environ.pop(STARTED_BY, None)
    if found := [f"{name}={os.environ[name]}" for name in UNASKED if os.environ.get(name, "1") not in ("", "0", "1")]:
        log.info("train.devices is 1: one process; not followed: %s", ", ".join(found))


def make_fabric(train: Train, devices: int) -> Fabric:
    """Set up device, precision and processes.

    Args:
        train: the recipe's section.
        devices: its own, or 1 where its steps are tried.

    Returns:
        Fabric, not launched.

    Raises:
        TrainingError: see `join_processes`.
    """
    for name in FABRICS_OWN:  # Fabric would take them in place of the recipe's
        os.environ.pop(name, None)
    plugins = [_environment(devices)]
    return Fabric(accelerator=train.accelerator, devices=devices, precision=train.precision, plugins=plugins)


def _environment(devices: int) -> RunEnvironment:
    if devices == 1:
        return RunEnvironment()
    if _started_by_the_first():
        return RunEnvironment(process_number(), True, port=_number("MASTER_PORT"))
    if TORCHRUN in os.environ and (world := _number("WORLD_SIZE")) is not None:
        _refuse_other(world, devices, "torchrun")
        address = os.environ.get("MASTER_ADDR", "127.0.0.1")
        return RunEnvironment(_number("RANK") or 0, True, address, _number("MASTER_PORT"))
    if (tasks := _number(SLURM_STEP)) is not None and tasks > 1:
        _refuse_other(tasks, devices, "srun")
        port = 15000 + (_number("SLURM_JOB_ID") or 0) % 10000  # one that all tasks of the job find
        return RunEnvironment(_number("SLURM_PROCID") or 0, True, port=port)
    return RunEnvironment()


def _started_by_the_first() -> bool:
    return os.environ.get(STARTED_BY, "").startswith(f"{os.getppid()}:")


def _refuse_other(started: int, devices: int, by: str) -> None:
    if started != devices:
        raise TrainingError(
            f"train.devices: is {devices}, but {by} has started {started} processes: start as many as there are "
            f"devices, or none (without {by}, epicsub starts them by itself); nothing was started"
        )


def _number(name: str) -> int | None:
    """A variable of the environment, where it is a number."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
