#!/usr/bin/env bash
# One task for each rank in this Slurm allocation. launch/rank.sh runs in each task.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/address.sh
. "$HERE/address.sh"
[ -n "${SLURM_JOB_ID:-}" ] ||
  { echo "srun.sh: this is not a Slurm allocation: sbatch slurm/refine.sh job.yaml, or salloc first" >&2; exit 70; }

# Both mean the same, but Slurm 23.02 gets the second wrong (its bug 16426); without --ntasks-per-node there is only that.
TASKS=${SLURM_NTASKS_PER_NODE:-${SLURM_TASKS_PER_NODE%"(x$NODES)"}}
[ "$SLURM_JOB_NUM_NODES × $TASKS" = "$NODES × $RANKS" ] || {
  echo "srun.sh: the job's resources ask for $NODES × $RANKS (nodes × ranks_per_node), this allocation has" \
    "$SLURM_JOB_NUM_NODES × $TASKS tasks: submit with --nodes=$NODES --ntasks-per-node=$RANKS, or change resources" >&2
  exit 70
}

# Some sites have a second name for a node's fast network: its usual one with a suffix.
master_address "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)${ISONET2_HOST_SUFFIX:-}"

free_port
MPI=()
case ${ISONET2_IMAGE:+$ISONET2_RUNTIME} in docker | podman) ISONET2_MPI_TYPE= ;; esac # MPI does not reach into these
if [ -n "${ISONET2_MPI_TYPE:-}" ]; then # chosen by the site: shared stages talk through mpi4py
  MPI=(--mpi="$ISONET2_MPI_TYPE")
  export ISONET2_MPI=1
fi
OVER=()
case ${SLURM_STEP_ID:-} in # srun --pty bash, or the like: that step has the cores, and would be waited for
  "" | 429496729[0-9]) ;; # of the batch script
  *) OVER=(--overlap) ;;
esac
CORES=${SLURM_CPUS_PER_TASK:-$((SLURM_CPUS_ON_NODE / RANKS > 0 ? SLURM_CPUS_ON_NODE / RANKS : 1))}
unset SLURM_EXPORT_ENV # else srun hands on nothing when the job was submitted with --export=NONE
# --cpus-per-task again, since Slurm 22.05 srun does not take it from sbatch.
exec srun --nodes="$NODES" --ntasks="$((NODES * RANKS))" --ntasks-per-node="$RANKS" --cpus-per-task="$CORES" \
  "${MPI[@]}" "${OVER[@]}" --kill-on-bad-exit=1 --wait=0 bash "$HERE/rank.sh" "$@"
