#!/usr/bin/env bash
# python with these arguments, inside the image that launch/container.sh found: with the folders that the job needs, as
# the user who runs this, and with what launchers and schedulers say to a rank. In an image already: just python.
if [ -n "${ISONET2_IN_CONTAINER:-}" ]; then exec python "$@"; fi
export ISONET2_IN_CONTAINER=1 PYTHONNOUSERSITE=1 PYTHONSAFEPATH=1 # the image's packages: none of a home, none of here
unset PYTHONPATH PYTHONHOME PYTHONUSERBASE CDPATH

case $ISONET2_RUNTIME in
  apptainer | singularity) OPTIONS=(run --pwd "$PWD") BIND=--bind ;;
  docker | podman)
    OPTIONS=(run --rm --interactive --pull=never --network=host --ipc=host --security-opt=label=disable)
    OPTIONS+=(--workdir "$PWD" --env "HOME=${HOME:-/tmp}") # which need not be there: a job's ~ means it
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
    case $(docker info --format '{{.SecurityOptions}}') in
      *rootless*) OPTIONS+=(--user 0:0) ;; # there, root is the user
      *)
        OPTIONS+=(--userns=host --user "$(id -u):$(id -g)")
        for GROUP in $(id -G); do OPTIONS+=(--group-add "$GROUP"); done
        ;;
    esac
    ;;
  podman)
    OPTIONS+=(--user "$(id -u):$(id -g)")
    if [ "$(id -u)" != 0 ]; then OPTIONS+=(--userns=keep-id --group-add=keep-groups); fi
    ;;
esac

# Each place once, by where it is inside; what links lead to before the links, which hold inside as they do here.
declare -A PLACES=() LINKS=()
place() { # place HOST INSIDE MODE
  local here inside real
  real=$(realpath "$1") here=$(realpath --no-symlinks "$1") inside=$(realpath --no-symlinks "$2")
  case $1 in */..*) here=$real; if [ "$1" = "$2" ]; then inside=$real; fi ;; esac # behind a link, .. is not what it looks like
  case $inside in
    /bin | /sbin | /lib* | /usr | /usr/bin | /usr/lib* | /usr/local | /usr/local/bin | /usr/local/lib | /etc | /isonet2*)
      echo "container: $inside would hide what the image has there: use another folder" >&2
      exit 64
      ;;
  esac
  if [ "$here" = "$inside" ] && [ "$here" != "$real" ]; then
    LINKS[$inside]=$here:$inside$3
    here=$real inside=$real
  fi
  PLACES[$inside]=$here:$inside$3
}
for PLACE in "$ISONET2_FOLDER" "$(dirname "$0")/.." "$PWD" "${TMPDIR:-}" "${SLURM_TMPDIR:-}"; do
  case $PLACE in *[:,]*) echo "container: $PLACE: a colon or a comma in the name keeps it out" >&2; exit 64 ;; esac
  if [ -d "${PLACE%/}" ]; then place "$PLACE" "$PLACE" ''; fi
done
while IFS=: read -r -d , HOST INSIDE MODE; do place "$HOST" "$INSIDE" "${MODE:+:$MODE}"; done <<< "$ISONET2_BINDS" # these win
while IFS= read -r PLACE; do OPTIONS+=("$BIND" "$PLACE"); done < <(
  LC_ALL=C
  printf '%s\n' "${PLACES[@]}" | sort -t: -k2,2 # behind those around it
  [ ${#LINKS[@]} = 0 ] || printf '%s\n' "${LINKS[@]}" | sort -t: -k2,2
)

# Sites clean the environment (APPTAINER_CLEANENV), and docker hands nothing on.
for NAME in $(compgen -e); do
  case $NAME in
    RANK | WORLD_SIZE | LOCAL_RANK | MASTER_ADDR | MASTER_PORT | LAUNCHER | NODES | NODE_RANK | RANKS | CORES | FOLDER) ;;
    PYTHON* | ISONET2_* | OMP_* | MKL_* | TORCH* | GLOO_* | NCCL_* | MIOPEN_* | USER | LOGNAME | TMPDIR | MPLCONFIGDIR) ;;
    CUDA_* | PYTORCH_* | ROCR_* | HIP_* | HSA_* | GPU_DEVICE_ORDINAL | HDF5_* | KMP_* | GOMP_* | OPENBLAS_* | FI_* | UCX_* | MPICH_*) ;;
    SLURM_* | PBS_* | LSB_* | PMI* | OMPI_* | PALS_* | MPI_LOCALRANKID | MV2_* | JSM_NAMESPACE_*) ;;
    *) continue ;;
  esac
  case $ISONET2_RUNTIME in
    docker | podman) OPTIONS+=(--env "$NAME") ;;
    *) export "${ISONET2_RUNTIME^^}ENV_$NAME=${!NAME}" ;;
  esac
done
exec "$ISONET2_RUNTIME" "${OPTIONS[@]}" "$ISONET2_IMAGE" python "$@"
