#!/usr/bin/env bash
# Downloads into benchmarks/gpu/wheels/ (ignored, under 60 MiB) the wheels that a machine with Python 3.12, torch 2.11 and
# the usual scientific packages lacks, in the lock's versions, and one of epicsub: `run.sh` installs them without a network.
#   benchmarks/gpu/prepare.sh [pytorch_i3d.py]     the file of the public I3D port, which `run.sh` then steps beside ours
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python} wheels=benchmarks/gpu/wheels
compiled=(av orjson pydantic pydantic_core)
plain=(annotated-types filelock fvcore iopath lightning-fabric lightning-utilities parameterized portalocker pytorchvideo
  termcolor typing-inspection yacs)
rm -rf "$wheels" && mkdir -p "$wheels"
lock() { grep -iE "^${1//[-_]/[-_]}==" requirements.lock || { echo "requirements.lock: no line of $1" >&2; exit 1; }; }
for name in "${compiled[@]}"; do
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
    --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    -d "$wheels" "$(lock "$name")"
done
for name in "${plain[@]}"; do # several of them are source archives: their wheels are made here
  "$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$wheels" "$(lock "$name")"
done
"$python" -m pip wheel --quiet --disable-pip-version-check --no-deps -w "$wheels" .
rm -rf build
[ $# = 0 ] || cp "$1" "$wheels/pytorch_i3d.py"
size=$(du -sm "$wheels" | cut -f1)
echo "$(ls "$wheels"/*.whl | wc -l) wheels, $size MiB in $wheels"
[ "$size" -lt 60 ] || { echo "over 60 MiB: leave one out" >&2; exit 1; }
