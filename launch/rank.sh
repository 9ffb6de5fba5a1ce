#!/usr/bin/env bash
# One rank: what its launcher says of it, in the words of torch. LAUNCHER, NODES, RANKS (a node), FOLDER: from run.sh.
HERE=$(cd "$(dirname "$0")" && pwd)
refuse() { # refuse WHY
  printf '70\nrank.sh: %s\n\n' "$1" > "$FOLDER/logs/verdict"
  echo "rank.sh: $1" >&2
  exit 70
}
case $LAUNCHER in
  srun) RANK=${SLURM_PROCID:-} WORLD_SIZE=${SLURM_STEP_NUM_TASKS:-} LOCAL_RANK=${SLURM_LOCALID:-} ;;
  mpirun) # Open MPI; PALS; MPICH and Intel MPI; MVAPICH
    RANK=${OMPI_COMM_WORLD_RANK:-${PALS_RANKID:-${PMI_RANK:-${MV2_COMM_WORLD_RANK:-}}}}
    WORLD_SIZE=${OMPI_COMM_WORLD_SIZE:-${PMI_SIZE:-${MV2_COMM_WORLD_SIZE:-}}}
    LOCAL_RANK=${OMPI_COMM_WORLD_LOCAL_RANK:-${PALS_LOCAL_RANKID:-${MPI_LOCALRANKID:-${PMI_LOCAL_RANK:-}}}}
    LOCAL_RANK=${LOCAL_RANK:-${MV2_COMM_WORLD_LOCAL_RANK:-}}
    ;;
  torchrun) ;; # speaks so
esac
export RANK WORLD_SIZE LOCAL_RANK

# shellcheck disable=SC2153 # RANKS is run.sh's
# Launchers may share ranks out as they like, without a word; and their exit code may not survive.
if [ "${WORLD_SIZE:-0}" != $((NODES * RANKS)) ] || [ "${LOCAL_RANK:-$RANKS}" -ge "$RANKS" ]; then
  WHY="this is rank ${RANK:-?} of ${WORLD_SIZE:-?}, local rank ${LOCAL_RANK:-?} on $(hostname), and the job asks"
  refuse "$WHY for $NODES × $RANKS (nodes × ranks_per_node): start as many ranks on each node, or change resources"
fi

# Nobody bound this rank to cores of its own: then all of its node share them.
OWN=$(nproc)
if [ "$LAUNCHER" = srun ]; then OWN=$SLURM_CPUS_PER_TASK
elif [ "$OWN" -ge "${CORES:-1}" ]; then OWN=$((OWN / RANKS > 0 ? OWN / RANKS : 1))
fi
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$OWN}"

# Left alone, gloo takes the interface of the host's name, which is the loopback on many nodes, and unknown on some.
if [ "$NODES" = 1 ]; then export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-lo}"
else
  INTERFACE=$("$PYTHON" "$HERE/interface.py" "$MASTER_ADDR" 2> /dev/null) ||
    refuse "$(hostname) has no network interface that leads to $MASTER_ADDR, where rank 0 is: set GLOO_SOCKET_IFNAME"
  export GLOO_SOCKET_IFNAME="${GLOO_SOCKET_IFNAME:-$INTERFACE}"
  export NCCL_SOCKET_IFNAME="${NCCL_SOCKET_IFNAME:-=$INTERFACE}" # =: exactly this name, not all that begin with it
fi
export PYTHONFAULTHANDLER=1 # what kills a rank also says where
exec "$PYTHON" -m isonet2 "$@"
