#!/usr/bin/env bash
# NODES × RANKS processes by the mpiexec in the PATH, on the hosts that PBS, LSF, SGE or Slurm gave, or on this machine.
# launch/rank.sh runs in each; stages that are shared out then talk through mpi4py.
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/address.sh
. "$HERE/address.sh"

refuse() { # refuse WHY
  echo "mpirun.sh: $1" >&2
  printf '70\nmpirun.sh: %s\n\n' "$1" > "$FOLDER/logs/verdict"
  exit 70
}
case ${ISONET2_IMAGE:+$ISONET2_RUNTIME} in
  docker | podman)
    refuse "mpiexec does not reach into containers of $ISONET2_RUNTIME: take --launcher torchrun, or apptainer"
    ;;
esac
VERSION=$(mpiexec --version 2>&1) ||
  { echo "mpirun.sh: no mpiexec in the PATH: load your site's MPI, or pip install mpich mpi4py" >&2; exit 70; }
case "$VERSION $(readlink -f "$(command -v mpiexec)")" in
  *HYDRA* | *"Intel(R) MPI"*) PLACES=(-ppn "$RANKS") OTHER="Open MPI" ;; # MPICH, Intel MPI, MVAPICH
  *"Open MPI"* | *OpenRTE* | *"Spectrum MPI"*) PLACES=(--map-by "ppr:$RANKS:node" --bind-to none) OTHER=MPICH ;;
  *PALS* | */pals/*) PLACES=(--ppn "$RANKS" --cpu-bind none) OTHER="Open MPI" ;;
  *) echo "mpirun.sh: which MPI is this? mpiexec --version says: $(head -n 1 <<< "$VERSION")" >&2; exit 70 ;;
esac

# Under another MPI's mpiexec a library aborts, or takes each rank for the only one.
ASK="import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version().split('\n')[0])"
LIBRARY=$("$PYTHON" -c "$ASK" 2> /dev/null) || LIBRARY=
case $LIBRARY in
  *"$OTHER"*)
    WHY="mpiexec is of another MPI than mpi4py's library, $LIBRARY: load the module of one of them, name the library"
    refuse "$WHY in MPI4PY_LIBMPI, or take --launcher torchrun"
    ;;
esac

if [ -n "${PBS_NODEFILE:-}" ]; then FIRST=$(head -n 1 "$PBS_NODEFILE")
elif [ -n "${LSB_HOSTS:-${LSB_MCPU_HOSTS:-}}" ]; then read -r FIRST _ <<< "${LSB_HOSTS:-$LSB_MCPU_HOSTS}"
elif [ -n "${PE_HOSTFILE:-}" ]; then read -r FIRST _ < "$PE_HOSTFILE"
elif [ -n "${SLURM_JOB_NODELIST:-}" ]; then FIRST=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
else FIRST=$(hostname)
fi
master_address "${MASTER_ADDR:-$FIRST}"
free_port

# Each mpiexec has its own option to take variables along to other nodes, and not all do so by themselves.
CARRIED=(ISONET2_MPI=1 LAUNCHER=mpirun NODES="$NODES" RANKS="$RANKS" FOLDER="$FOLDER" PYTHON="$PYTHON" CORES="$(nproc)"
  MASTER_ADDR="$MASTER_ADDR" MASTER_PORT="$MASTER_PORT")
if [ -n "${ISONET2_IMAGE:-}" ]; then CARRIED+=("PATH=$PATH"); fi # where a module has put apptainer
for NAME in ISONET2_STOP_AT OMP_NUM_THREADS GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME \
  ISONET2_IMAGE ISONET2_IMAGE_DIGEST ISONET2_RUNTIME ISONET2_GPU ISONET2_BINDS ISONET2_FOLDER; do
  if [ -n "${!NAME:-}" ]; then CARRIED+=("$NAME=${!NAME}"); fi
done
exec mpiexec -n "$((NODES * RANKS))" "${PLACES[@]}" env "${CARRIED[@]}" bash "$HERE/rank.sh" "$@"
