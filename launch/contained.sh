#!/usr/bin/env bash
# python with these arguments, inside the image that launch/container.sh found: with the folders that the job needs, as
# the user who runs this, and with what launchers and schedulers say to a rank. In an image already: just python.
if [ -n "${ISONET2_IN_CONTAINER:-}" ]; then exec python "$@"; fi
export ISONET2_IN_CONTAINER=1 PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1 # the image's packages: none of a home, none of here
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE

case $ISONET2_RUNTIME in
  apptainer | singularity) OPTIONS=(run --pwd "$PWD") BIND=--bind ;;
  docker | podman)
    OPTIONS=(run --rm --interactive --pull=never --network=host --ipc=host --security-opt=label=disable)
    OPTIONS+=(--workdir "$PWD" --env HOME=/tmp)
    BIND=--volume
    ;;
esac
case $ISONET2_RUNTIME:${ISONET2_GPU:-none} in
  docker:nv) OPTIONS+=(--gpus=all) ;;
  podman:nv) OPTIONS+=(--device=nvidia.com/gpu=all) ;;
  docker:rocm | podman:rocm) OPTIONS+=(--device=/dev/kfd --device=/dev/dri) ;;
  *:nv | *:rocm) OPTIONS+=("--$ISONET2_GPU") ;;
esac
# What is written belongs to the user, and what the user's groups may read is read. (Apptainer does so by itself.)
case $ISONET2_RUNTIME in
  docker)
    OWNER=$(id -u):$(id -g)
    case $(docker info --format '{{.SecurityOptions}}') in *rootless*) OWNER=0:0 ;; esac # there, root is the user
    OPTIONS+=(--user "$OWNER")
    for GROUP in $(id -G); do OPTIONS+=(--group-add "$GROUP"); done
    ;;
  podman)
    OPTIONS+=(--user "$(id -u):$(id -g)")
    if [ "$(id -u)" != 0 ]; then OPTIONS+=(--userns=keep-id --group-add=keep-groups); fi
    ;;
esac

PROJECT=$(cd "$(dirname "$0")/.." && pwd)
PLACES=$(
  tr , '\n' <<< "$ISONET2_BINDS"
  for PLACE in "$ISONET2_FOLDER" "$PROJECT" "$PWD" "${TMPDIR:-}" "${SLURM_TMPDIR:-}"; do
    case $PLACE in *[:,]*) echo "container: $PLACE: a colon or a comma in the name keeps it out" >&2; exit 64 ;; esac
    if [ -d "${PLACE%/}" ]; then echo "${PLACE%/}:${PLACE%/}"; fi
  done
) || exit
while IFS= read -r PLACE; do
  if [ -n "$PLACE" ]; then OPTIONS+=("$BIND" "$PLACE"); fi
done < <(LC_ALL=C sort -u -t: -k2,2 <<< "$PLACES") # each place inside once, and after those around it

# Sites clean the environment (APPTAINER_CLEANENV), and docker hands nothing on.
for NAME in $(compgen -e); do
  case $NAME in
    RANK | WORLD_SIZE | LOCAL_RANK | MASTER_ADDR | MASTER_PORT | LAUNCHER | NODES | NODE_RANK | RANKS | CORES | FOLDER) ;;
    PYTHON* | ISONET2_* | OMP_* | MKL_* | TORCH* | GLOO_* | NCCL_* | MIOPEN_* | USER | LOGNAME | TMPDIR | MPLCONFIGDIR) ;;
    CUDA_VISIBLE_DEVICES | ROCR_VISIBLE_DEVICES | HIP_VISIBLE_DEVICES | GPU_DEVICE_ORDINAL) ;;
    SLURM_* | PBS_* | LSB_* | PMI* | OMPI_* | PALS_* | MPI_LOCALRANKID | MV2_* | JSM_NAMESPACE_*) ;;
    *) continue ;;
  esac
  case $ISONET2_RUNTIME in
    docker | podman) OPTIONS+=(--env "$NAME") ;;
    *) export "${ISONET2_RUNTIME^^}ENV_$NAME=${!NAME}" ;;
  esac
done
exec "$ISONET2_RUNTIME" "${OPTIONS[@]}" "$ISONET2_IMAGE" python "$@"
