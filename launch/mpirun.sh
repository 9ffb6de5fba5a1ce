#!/usr/bin/env bash
# NODES × RANKS processes by the mpiexec in the PATH, on the hosts that PBS, LSF, SGE or Slurm gave, or on this machine.
# launch/rank.sh runs in each; stages that are shared out then talk through mpi4py.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/address.sh
. "$HERE/address.sh"

VERSION=$(mpiexec --version 2>&1) ||
  { echo "mpirun.sh: no mpiexec in the PATH: load your site's MPI, or pip install mpich mpi4py" >&2; exit 70; }
case "$VERSION $(readlink -f "$(command -v mpiexec)")" in
  *HYDRA* | *"Intel(R) MPI"*) PLACES=(-ppn "$RANKS") ;; # MPICH, Intel MPI, MVAPICH
  *"Open MPI"* | *OpenRTE* | *"Spectrum MPI"*) PLACES=(--map-by "ppr:$RANKS:node" --bind-to none) ;;
  *PALS* | */pals/*) PLACES=(--ppn "$RANKS" --cpu-bind none) ;;
  *) echo "mpirun.sh: which MPI is this? mpiexec --version says: $(head -n 1 <<< "$VERSION")" >&2; exit 70 ;;
esac

if [ -n "${PBS_NODEFILE:-}" ]; then FIRST=$(head -n 1 "$PBS_NODEFILE")
elif [ -n "${LSB_HOSTS:-${LSB_MCPU_HOSTS:-}}" ]; then read -r FIRST _ <<< "${LSB_HOSTS:-$LSB_MCPU_HOSTS}"
elif [ -n "${PE_HOSTFILE:-}" ]; then read -r FIRST _ < "$PE_HOSTFILE"
elif [ -n "${SLURM_JOB_NODELIST:-}" ]; then FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
else FIRST=$(hostname)
fi
master_address "${MASTER_ADDR:-$FIRST}"
# Another job of this host, which is the first one as a rule, may have come to the same port.
while (: <> "/dev/tcp/127.0.0.1/$MASTER_PORT") 2> /dev/null; do MASTER_PORT=$((MASTER_PORT + 1)); done

# Each mpiexec has its own option to take variables along to other nodes, and not all do so by themselves.
CARRIED=(ISONET2_MPI=1 LAUNCHER=mpirun NODES="$NODES" RANKS="$RANKS" FOLDER="$FOLDER" PYTHON="$PYTHON" CORES="$(nproc)"
  MASTER_ADDR="$MASTER_ADDR" MASTER_PORT="$MASTER_PORT")
for NAME in ISONET2_STOP_AT OMP_NUM_THREADS GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME; do
  if [ -n "${!NAME:-}" ]; then CARRIED+=("$NAME=${!NAME}"); fi
done
exec mpiexec -n "$((NODES * RANKS))" "${PLACES[@]}" env "${CARRIED[@]}" bash "$HERE/rank.sh" "$@"
