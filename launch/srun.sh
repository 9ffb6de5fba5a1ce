#!/usr/bin/env bash
# One task for each rank in this Slurm allocation. launch/rank.sh runs in each task.
HERE=$(cd "$(dirname "$0")" && pwd)
[ -n "${SLURM_JOB_ID:-}" ] ||
  { echo "srun.sh: this is not a Slurm allocation: sbatch slurm/refine.sh job.yaml, or salloc first" >&2; exit 70; }

# Both mean the same, but Slurm 23.02 gets the second wrong (its bug 16426); without --ntasks-per-node there is only that.
TASKS=${SLURM_NTASKS_PER_NODE:-${SLURM_TASKS_PER_NODE%"(x$NODES)"}}
[ "$SLURM_JOB_NUM_NODES × $TASKS" = "$NODES × $RANKS" ] || {
  echo "srun.sh: the job's resources ask for $NODES × $RANKS (nodes × ranks_per_node), this allocation has" \
    "$SLURM_JOB_NUM_NODES × $TASKS tasks: submit with --nodes=$NODES --ntasks-per-node=$RANKS, or change resources" >&2
  exit 70
}

MASTER_HOST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(getent ahostsv4 "$MASTER_HOST" | awk 'NR == 1 {print $1}')
case "$NODES:$MASTER_ADDR" in
  *:) echo "srun.sh: $MASTER_HOST has no IPv4 address here" >&2; exit 70 ;;
  1:*) ;;
  *:127.*) echo "srun.sh: $MASTER_HOST resolves to $MASTER_ADDR, which other nodes cannot reach: mend /etc/hosts" >&2; exit 70 ;;
esac
export MASTER_ADDR
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 12000)) # below the range of outgoing connections

unset SLURM_EXPORT_ENV # else srun hands on nothing when the job was submitted with --export=NONE
# A rank that ends gives the others a minute: killed at once, as on a bad exit, they would turn its 64 into 143.
exec srun --nodes="$NODES" --ntasks="$((NODES * RANKS))" --ntasks-per-node="$RANKS" \
  --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=60 \
  bash "$HERE/rank.sh" "$@"
