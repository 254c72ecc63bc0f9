"""Where commands write: to standard output, and under `~`."""

import json


def test_json_on_standard_output_stands_alone(command, kitchens, capfd):
    done = command("data", "check", "--data", kitchens, "--json", "-")
    assert done.status == 0, done.err
    assert json.loads(capfd.readouterr().out)["files"]
    assert not done.out
    assert "all segments can be read" in done.err
