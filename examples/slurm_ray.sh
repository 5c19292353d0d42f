#!/usr/bin/env bash
#SBATCH --job-name=cabench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=8
#SBATCH --time=12:00:00
#SBATCH --signal=B:TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
#
# Runs a study on all nodes of a Slurm job, with one Ray node on each:
#
#     sbatch slurm_ray.sh studies/layer_placement.yaml --scale paper
#
# The working directory must be on a path that all nodes share, with cabench installed there (PATH
# or an active environment). Five minutes before the time limit the run stops with a snapshot of
# each trial, and the job goes back into the queue; it then goes on where it was.
set -euo pipefail

port=${RAY_PORT:-6379}
cpus=${SLURM_CPUS_PER_TASK:-1}
gpus=${SLURM_GPUS_ON_NODE:-0}
mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
ip=$(srun --nodes=1 --ntasks=1 -w "$head" hostname --all-ip-addresses | tr ' ' '\n' | grep -m1 -F .)
address=$ip:$port

ray_node() { # NODE OPTION...: a Ray node that runs until this script ends
    srun --nodes=1 --ntasks=1 --cpus-per-task="$cpus" --overlap -w "$1" \
        ray start --block --num-cpus="$cpus" --num-gpus="$gpus" "${@:2}" > /dev/null &
    steps+=($!)
}

wait_for_nodes() { # COUNT: a run counts the workers once, when it starts
    for _ in {1..40}; do
        active=$(ray status --address "$address" 2> /dev/null | grep -c '^ *1 node_' || true)
        [ "$active" -ge "$1" ] && return
        sleep 2
    done
    echo "$0: expected $1 Ray nodes at $address, got $active" >&2
    exit 1
}

# Only who knows this job's token may use its Ray
export RAY_AUTH_MODE=token
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN

steps=()
trap 'kill "${steps[@]}" 2> /dev/null; wait' EXIT
ray_node "$head" --head --node-ip-address="$ip" --port="$port" --include-dashboard=false
wait_for_nodes 1
for node in "${nodes[@]:1}"; do
    ray_node "$node" --address="$address"
done
wait_for_nodes "${#nodes[@]}"

cabench run "$@" --ray-address "$address" &
run=$!
limit_near=
trap 'limit_near=yes; kill -TERM "$run"' TERM
code=0
wait "$run" || code=$?
if [ -n "$limit_near" ]; then
    code=0
    wait "$run" || code=$? # the first wait ended with the signal, this one with the run
    [ "$code" -ne 143 ] || scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
