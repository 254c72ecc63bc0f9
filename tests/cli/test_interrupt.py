"""Ctrl-C: one line that says where a command stands and how to go on, status 130, and no process left."""

import os
import signal
import subprocess
import sys
import time
from contextvars import ContextVar

import pytest

from epicsub.cli import main
from epicsub.progress import position, track

SLOW = """
import sys, time
from epicsub.cli import main
from epicsub.data.flow import compute
from epicsub.progress import in_processes, track
from contextlib import closing

def work(job):
    if job:
        time.sleep(600)

def command(*given, **named):
    with closing(in_processes(work, [0, 1, 2], 3)) as results:
        for result in track(results, "working", 3):
            print("one done", flush=True)

if __name__ == "__main__":
    import epicsub.cli.recipes as recipes
    command.__name__ = "recipes"
    recipes.recipes = command
    sys.argv = ["epicsub", "recipes"]
    command.__annotations__ = {}
    import inspect
    command.__signature__ = inspect.Signature()
    from epicsub.cli import run
    run()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize("starting", [False, True], ids=["at work", "while processes start"])
def test_an_interrupted_command_says_where_it_stands_and_leaves_nothing(starting, tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    process = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    if starting:
        while len(children := children_of(process.pid)) < 3:  # the resource tracker and two that start
            time.sleep(0.01)
        assert children
    else:
        assert process.stdout.readline() == "one done\n"
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    done = 0 if starting else 1
    *_, last = told.splitlines()
    assert last == f"interrupted at working: {done} of 3: what is whole is kept; run the same command again to go on"
    assert "Traceback" not in told
    assert not children_of(process.pid)


def children_of(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.split()


def test_a_position_is_that_of_the_work_begun_last(monkeypatch):
    monkeypatch.setattr("epicsub.progress._position", ContextVar("position", default=None))
    places = []
    for _ in track([1, 2], "outer", 2):
        for _ in track([1], "inner", 1):
            places.append(str(position()))
        places.append(str(position()))
    assert places == ["inner: 0 of 1", "outer: 0 of 2", "inner: 0 of 1", "outer: 1 of 2"]
    assert position() is None


def test_ctrl_c_while_training_names_the_checkpoint(command, kitchens, short, monkeypatch):
    from epicsub.training import loop

    step = loop.train_step

    def interrupted(fabric, recipe, stage, state, *rest):
        if state.step == 5:
            raise KeyboardInterrupt
        return step(fabric, recipe, stage, state, *rest)

    monkeypatch.setattr(loop, "train_step", interrupted)
    monkeypatch.setattr(main.signal, "signal", lambda *given: None)
    words = ("train", "recipes/tiny/mmir_i3d.yaml", *short, "--data", kitchens, "--out", "outputs/interrupted")
    stopped = command(*words)
    assert stopped.status == 130
    assert stopped.err.splitlines()[-1] == (
        "interrupted at tiny_mmir_i3d: 5 of 12 (checkpoint of step 4): what is whole is kept; run the same command "
        "again to go on"
    )
    stopped = command(*words, "--no-resume")
    assert "run the same command with --resume to go on" in stopped.err
