#!/bin/bash
# slurm/pipeline.sh RECIPE NAME [KEY=VALUE ...]: the whole way by dependencies of jobs, from videos to a submission of three
# seeds. Each job begins when those before it have ended well; `squeue --me` shows them, and `scancel` of one stops the rest.
set -euo pipefail
recipe=$1 name=$2 && shift 2
. "${EPICSUB_SITE:-slurm/site.env}"
job() { # job AFTER SBATCH-OPTIONS -- FILE WORDS
  local after=$1 options=() && shift
  while [ "$1" != -- ]; do options+=("$1") && shift; done
  shift
  sbatch --parsable --kill-on-invalid-dep=yes ${after:+--dependency=afterok:$after} "${options[@]}" "$@"
}
one=(--nodes=1 --ntasks=1 --cpus-per-task=4 --time=4:00:00)
check=$(job "" "${one[@]}" --job-name=epicsub-check --wrap ". ${EPICSUB_SITE:-slurm/site.env} && epicsub data check" --)
flow=$(job "$check" -- slurm/flow.sbatch)
prepare=$(job "$flow" -- slurm/prepare.sbatch)
runs=() members=()
for seed in 1 2 3; do
  members+=("outputs/$name-$seed")
  runs+=("$(job "$prepare" -- slurm/train.sbatch "$recipe" seed="$seed" --out "outputs/$name-$seed" "$@")")
done
trained=$(IFS=: && echo "${runs[*]}")
predicted=()
for member in "${members[@]}"; do
  words=("$member" --split test --tta 5x3+flip -o "$member/test.npz")
  shares=$(job "$trained" -- slurm/predict.sbatch "${words[@]}")
  merge=". ${EPICSUB_SITE:-slurm/site.env} && epicsub predict ${words[*]} --device cuda --merge 4"
  predicted+=("$(job "$shares" "${one[@]}" --gpus-per-node=1 --job-name=epicsub-merge --wrap "$merge" --)")
done
submit=$(job "$(IFS=: && echo "${predicted[*]}")" -- slurm/submit.sbatch --ensemble "${members[@]}" --tta 5x3+flip --name "$name")
echo "check $check, flow $flow, prepare $prepare, train ${runs[*]}, predict ${predicted[*]}, submit $submit"
