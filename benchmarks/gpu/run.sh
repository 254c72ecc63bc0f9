#!/usr/bin/env bash
# Measures epicsub on this machine's GPU, in at most 9 minutes and without a network: a table, and one JSON.
#   benchmarks/gpu/run.sh [--json FILE]                 after prepare.sh, on a machine with a GPU
#   benchmarks/gpu/run.sh --device cpu --small          the same way at toy size, with what is installed
#   benchmarks/gpu/run.sh --videos DIR [--json FILE]    hands at two sinks instead (benchmarks/handwash_video.py), at 224
#                                                       pixels and the paper's batch; again, and it goes on
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
if [ "${1:-}" = --videos ]; then
  videos=$2
  shift 2
  sizes=(--size 224 --batch 40 --seeds 1)
  if [[ " $* " == *" --small "* ]]; then sizes=(--batch 2 --steps 1 --seeds 1 --arms source_only); fi
  timeout --signal=TERM 540 "$python" benchmarks/handwash_video.py --videos "$videos" "${sizes[@]}" "$@"
else
  timeout --signal=TERM 540 "$python" benchmarks/gpu/measure.py "$@"
fi
