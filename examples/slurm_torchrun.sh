#!/usr/bin/env bash
#SBATCH --job-name=cabench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --gpus-per-node=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Runs a study trial by trial, each on all GPUs of all nodes of a Slurm job, without Ray:
#
#     sbatch slurm_torchrun.sh studies/layer_placement.yaml --scale paper
#
# The working directory must be on a path that all nodes share, with cabench installed there (PATH
# or an active environment). On nodes without GPUs set PROCESSES, the processes per node. Five
# minutes before the time limit the run stops with the state of the last step, and the job goes back
# into the queue; it then resumes from there.
set -euo pipefail

port=${MASTER_PORT:-29500}
processes=${PROCESSES:-${SLURM_GPUS_ON_NODE:-1}}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")

export TORCH_CPP_LOG_LEVEL=${TORCH_CPP_LOG_LEVEL:-ERROR}
srun --nodes="${#nodes[@]}" --ntasks="${#nodes[@]}" --ntasks-per-node=1 \
    --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
    torchrun --nnodes="${#nodes[@]}" --nproc-per-node="$processes" --max-restarts=3 \
    --rdzv-id="$SLURM_JOB_ID" --rdzv-backend=c10d --rdzv-endpoint="${nodes[0]}:$port" \
    -m cabench run "$@" --executor local &
run=$!
limit_near=
trap 'limit_near=yes; kill -TERM "$run"' TERM
code=0
wait "$run" || code=$?
if [ -n "$limit_near" ]; then
    code=0
    wait "$run" || code=$? # the first wait ended with the signal, this one with the run
    [ "$code" -eq 0 ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
