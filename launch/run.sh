#!/usr/bin/env bash
# Run a job on the ranks that its resources section asks for.
#   bash launch/run.sh job.yaml [--launcher auto|local|torchrun|srun] [--set section.key=value …] [--restart]
# auto: srun inside a Slurm allocation, torchrun for several ranks on this machine, else one process.
# The job is validated first: mistakes end it here (exit 64), before any rank starts.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,5s/^# //p' "$0" >&2; exit 64; }

JOB=$1
shift
LAUNCHER=auto
SETTINGS=()
RUN=()
while [ $# -gt 0 ]; do
  case $1 in
    --launcher) LAUNCHER=${2:?--launcher needs auto, local, torchrun or srun}; shift 2 ;;
    --launcher=*) LAUNCHER=${1#*=}; shift ;;
    --set) SETTINGS+=(--set "${2:?--set needs section.key=value}"); shift 2 ;;
    --set=*) SETTINGS+=("$1"); shift ;;
    *) RUN+=("$1"); shift ;;
  esac
done

# shellcheck source=launch/python.sh
. "$HERE/python.sh"
"$PYTHON" -m isonet2 validate "$JOB" "${SETTINGS[@]}"
read -r NODES RANKS < <("$PYTHON" -m isonet2 plan "$JOB" "${SETTINGS[@]}" --json |
  "$PYTHON" -c 'import json, sys; p = json.load(sys.stdin); print(p["nodes"], p["ranks"] // p["nodes"])')
export NODES RANKS PYTHON

if [ "$LAUNCHER" = auto ]; then
  LAUNCHER=local
  if [ "$RANKS" -gt 1 ]; then LAUNCHER=torchrun; fi
  if [ -n "${SLURM_JOB_ID:-}" ]; then LAUNCHER=srun; fi
fi
[ -f "$HERE/$LAUNCHER.sh" ] || { echo "run.sh: --launcher $LAUNCHER: take auto, local, torchrun or srun" >&2; exit 64; }
exec bash "$HERE/$LAUNCHER.sh" run "$JOB" "${SETTINGS[@]}" "${RUN[@]}"
