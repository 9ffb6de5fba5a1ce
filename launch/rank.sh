#!/usr/bin/env bash
# One rank: what Slurm says of this task, in the words of torch. NODES and RANKS (a node) are those of the job.
HERE=$(cd "$(dirname "$0")" && pwd)
LAYOUT=${SLURM_STEP_TASKS_PER_NODE:-none} # such as 2(x3)
[ "${LAYOUT%"(x$NODES)"}" = "${RANKS:?}" ] || { # srun may share tasks out as it likes, without a word
  [ "${SLURM_PROCID:-0}" != 0 ] ||
    echo "rank.sh: the step's tasks a node are $LAYOUT, and the job asks for $NODES × $RANKS: submit with --ntasks-per-node" >&2
  exit 70
}
export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_STEP_NUM_TASKS LOCAL_RANK=$SLURM_LOCALID
: "${OMP_NUM_THREADS:=${SLURM_CPUS_PER_TASK:-1}}"
export OMP_NUM_THREADS

# Left alone, gloo takes the interface of the host's name, which is the loopback on many nodes.
if [ "$NODES" -gt 1 ]; then
  INTERFACE=$("$PYTHON" "$HERE/interface.py" "$MASTER_ADDR") || exit 70
  export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$INTERFACE}"
  export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-=$INTERFACE}" # =: exactly this name, not all that begin with it
fi
exec "$PYTHON" -m isonet2 "$@"
