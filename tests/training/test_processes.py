"""Processes and devices: what the recipe asks for and the machine has, whatever the environment says."""

import os

import pytest
import torch

from epicsub.api import device_of
from epicsub.errors import InferenceError, TrainingError
from epicsub.progress import process_number
from epicsub.recipe import load_recipe
from epicsub.training.device import lacks
from epicsub.training.processes import RunEnvironment, join_processes, make_fabric

LEFT_IN_A_SHELL = [
    {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"},
    {"SLURM_NTASKS": "x", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_PROCID": ""},
    {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "3", "MASTER_ADDR": "gone", "MASTER_PORT": "none"},
    {"LOCAL_RANK": "first"},
    {"PMI_SIZE": "4", "PMI_RANK": "1", "OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
    {"LT_DEVICES": "4", "LT_ACCELERATOR": "cuda", "LT_STRATEGY": "ddp", "LT_PRECISION": "16-mixed"},
    {"TORCHELASTIC_RUN_ID": "left", "WORLD_SIZE": "4", "RANK": "1", "LOCAL_RANK": "1"},
]
TRAIN = load_recipe("tiny/source_only").recipe.train


def on(devices, nodes=1):
    """The same on several devices."""
    return TRAIN.model_copy(update={"devices": devices, "nodes": nodes})


@pytest.mark.parametrize("left", LEFT_IN_A_SHELL, ids=lambda left: next(iter(left)))
def test_one_device_is_one_process(left, monkeypatch):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert join_processes(TRAIN) == TRAIN
    fabric = make_fabric(TRAIN)
    fabric.launch()
    assert (fabric.world_size, fabric.global_rank, fabric.device.type) == (1, 0, "cpu")
    assert process_number() == 0


@pytest.mark.parametrize("left", LEFT_IN_A_SHELL[:5], ids=lambda left: next(iter(left)))
def test_several_devices_start_their_own_processes(left, monkeypatch):
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    environment = make_fabric(on(2))._connector.cluster_environment
    assert isinstance(environment, RunEnvironment)
    assert not environment.creates_processes_externally
    assert (environment.local_rank(), environment.main_address) == (0, "127.0.0.1")


@pytest.mark.parametrize(
    ("by", "started"),
    [
        ("srun", {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "3", "SLURM_JOB_ID": "123456"}),
        ("torchrun", {"TORCHELASTIC_RUN_ID": "a", "WORLD_SIZE": "4", "RANK": "3", "MASTER_PORT": "29500"}),
    ],
)
def test_processes_that_were_started_are_joined_or_refused(by, started, monkeypatch):
    for name, value in started.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EPICSUB_STARTED_BY", "")
    with pytest.raises(TrainingError, match=f"train.devices: is 2, but {by} has started 4 processes: start as many"):
        join_processes(on(2))
    join_processes(on(4))
    assert process_number() == 3
    environment = make_fabric(on(4))._connector.cluster_environment
    assert environment.creates_processes_externally
    assert environment.local_rank() == 3
    assert environment.main_port == (18456 if by == "srun" else 29500)


def test_what_is_not_followed_is_told(monkeypatch, caplog):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    with caplog.at_level("INFO", "epicsub"):
        join_processes(TRAIN)
    assert "train.devices is 1: one process; not followed: SLURM_NTASKS=4" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gpu", "device 'gpu': there is no such name; choose auto, cpu"),
        ("cuda", "device cuda: PyTorch .*; choose auto, cpu"),
        ("cuda:3", "device cuda:3: PyTorch .*; choose auto, cpu"),
        ("cuda:-1", "device 'cuda:-1': there is no such name"),
        ("mps", "device mps: this machine has no Apple GPU"),
        ("meta", "device 'meta': there is no such name"),
        ("0", "device '0': there is no such name"),
        ("", "device '': there is no such name"),
    ],
)
def test_a_device_that_is_not_here_is_refused_with_what_is(name, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(InferenceError, match=message):
        device_of(name)
    assert device_of("auto") == device_of("cpu") == device_of(torch.device("cpu"))


def test_of_several_devices_the_number_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "A100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert device_of("cuda:1") == torch.device("cuda:1")
    with pytest.raises(InferenceError, match=r"cuda:3: 4 CUDA .* and 2 are here .*'0,1'.*cuda:0 \(A100\), cuda:1"):
        device_of("cuda:3")
    assert lacks("auto", 2) is None
    assert "4 CUDA devices are needed, and 2 are here" in (lacks("auto", 4) or "")


@pytest.fixture(autouse=True)
def environment():
    """Leave the environment as it was: Fabric writes into it."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)
