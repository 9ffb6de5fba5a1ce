#!/usr/bin/env bash
# One rank: what Slurm says of this task, in the words of torch.
[ "${SLURM_STEP_NUM_TASKS:-}" = "$((NODES * RANKS))" ] ||
  { echo "rank.sh: the step has ${SLURM_STEP_NUM_TASKS:-no} tasks and the job asks for $((NODES * RANKS)) ranks" >&2; exit 70; }
export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_STEP_NUM_TASKS LOCAL_RANK=$SLURM_LOCALID
: "${OMP_NUM_THREADS:=${SLURM_CPUS_PER_TASK:-1}}"
export OMP_NUM_THREADS
exec "$PYTHON" -m isonet2 "$@"
