#!/usr/bin/env bash
# Measures epicsub on this machine's GPU, in at most 9 minutes and without a network: a table, and one JSON.
#   benchmarks/gpu/run.sh [--json FILE]                 after prepare.sh, on a machine with a GPU
#   benchmarks/gpu/run.sh --device cpu --small          the same way at toy size, with what is installed
# What was measured is written after each part, so that a run which is cut off keeps it.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3} wheels=benchmarks/gpu/wheels
if [ -d "$wheels" ] && [[ " $* " != *" --device cpu "* ]]; then
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$wheels"/*.whl
  export PYTHONPATH=$PWD:$site
else
  export PYTHONPATH=$PWD
fi
timeout --signal=TERM 540 "$python" benchmarks/gpu/measure.py "$@"
