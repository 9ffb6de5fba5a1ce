#!/usr/bin/env bash
# One task for each rank in this Slurm allocation. launch/rank.sh runs in each task.
HERE=$(cd "$(dirname "$0")" && pwd)
unset SLURM_EXPORT_ENV # else srun hands on nothing when the job was submitted with --export=NONE
MASTER_HOST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_ADDR=$(getent ahostsv4 "$MASTER_HOST" | awk 'NR == 1 {print $1}')
case "$NODES:$MASTER_ADDR" in
  *:) echo "srun.sh: $MASTER_HOST has no IPv4 address here" >&2; exit 70 ;;
  1:*) ;;
  *:127.*) echo "srun.sh: $MASTER_HOST resolves to $MASTER_ADDR, which other nodes cannot reach: mend /etc/hosts" >&2; exit 70 ;;
esac
export MASTER_ADDR
export MASTER_PORT=$((20000 + SLURM_JOB_ID % 12000)) # below the range of outgoing connections
exec srun --nodes="$NODES" --ntasks="$((NODES * RANKS))" --ntasks-per-node="$RANKS" \
  --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=1 --wait=0 \
  bash "$HERE/rank.sh" "$@"
