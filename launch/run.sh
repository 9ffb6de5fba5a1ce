#!/usr/bin/env bash
# Run a job on the ranks that its resources section asks for; run it again, and it goes on from what is finished.
#   bash launch/run.sh job.yaml [--launcher auto|local|torchrun|mpirun|srun] [--stages a,b,c] [--restart] [--force]
#                               [--set section.key=value …]
# auto: srun in a Slurm allocation, mpirun in one of PBS, LSF or SGE, torchrun for several ranks on this machine (or, with
# NODE_RANK, on several), else one process. Of --stages those run that the job has; ..refine: all before refine, if it has
# that. Mistakes end it before any rank starts (exit 64). USR2, TERM, HUP and Ctrl-C stop it at a checkpoint (exit 75); a
# second Ctrl-C is passed on to the launcher. With a container section in the job, all of it runs in that image.
set -euo pipefail
unset CDPATH # with it, cd says where it went
HERE=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,8s/^# //p' "$0" >&2; exit 64; }

# Heard from the first line on: until the ranks run, and then by way of the file that all of them look for.
ASKED=
LAUNCHED=
stop() { # stop SIGNAL
  if [ -n "$LAUNCHED" ] && [ "$ASKED$1" = INTINT ]; then kill -TERM -- "-$LAUNCHED"; fi
  ASKED=$1
  if [ -n "${FOLDER:-}" ]; then echo "run.sh was sent $1" > "$FOLDER/stop"; fi
}
for SIGNAL in USR2 TERM INT HUP; do
  # shellcheck disable=SC2064 # which signal it is must be said now
  trap "stop $SIGNAL" "$SIGNAL"
done

JOB=$1
shift
LAUNCHER=auto
STAGES=
SETTINGS=()
RUN=()
while [ $# -gt 0 ]; do
  case $1 in
    --launcher | --set | --stages)
      [ $# -ge 2 ] || { echo "run.sh: $1 needs a value" >&2; exit 64; }
      set -- "$1=$2" "${@:3}"
      ;;
    --launcher=*) LAUNCHER=${1#*=}; shift ;;
    --set=*) SETTINGS+=("$1"); shift ;;
    --stages=*) STAGES=${1#*=}; shift ;;
    *) RUN+=("$1"); shift ;;
  esac
done

# shellcheck source=launch/python.sh
. "$HERE/python.sh"
# shellcheck source=launch/container.sh
. "$HERE/container.sh"
contain "$JOB" "${SETTINGS[@]}"
"$PYTHON" -m isonet2 validate "$JOB" "${SETTINGS[@]}" < /dev/null || no_start $?
PLAN=$("$PYTHON" -m isonet2 plan "$JOB" "${SETTINGS[@]}" --json < /dev/null)
PLAN=$("$PYTHON" "$HERE/plan.py" ${STAGES:+"$STAGES"} <<< "$PLAN")
eval "$PLAN" # FOLDER, NODES, RANKS, STEPS, CONTAINER
as_isonet2_reads_it "${CONTAINER[@]}"

if [ "$LAUNCHER" = auto ]; then
  LAUNCHER=local
  if [ $((NODES * RANKS)) -gt 1 ]; then LAUNCHER=torchrun; fi
  if [ -n "${PBS_NODEFILE:-${LSB_JOBID:-${PE_HOSTFILE:-}}}" ]; then LAUNCHER=mpirun; fi
  if [ -n "${SLURM_JOB_ID:-}" ]; then LAUNCHER=srun; fi
  if [ -n "${NODE_RANK:-}" ]; then LAUNCHER=torchrun; fi
fi
case $LAUNCHER in
  local | torchrun) STEPS=("$(IFS=,; echo "${STEPS[*]}")") ;; # their ranks talk through torch alone, in all stages
  mpirun | srun) ;; # MPI, fork and NCCL must not meet in one process
  *) echo "run.sh: --launcher $LAUNCHER: take auto, local, torchrun, mpirun or srun" >&2; exit 64 ;;
esac

# Below the ports of outgoing connections, the same on all nodes, another one for each job of a node.
NUMBER=${SLURM_JOB_ID:-$(cksum <<< "$FOLDER" | cut -d' ' -f1)}
MASTER_PORT=${MASTER_PORT:-$((20000 + NUMBER % 12000))}
export LAUNCHER NODES RANKS FOLDER PYTHON MASTER_PORT

# What an earlier run left; but a run that works here now must keep it. The folder is ours until the last step ends.
mkdir -p "$FOLDER/logs"
VERDICT=$FOLDER/logs/verdict
held_by() { # held_by FILE
  echo "run.sh: $FOLDER: another run works here ($(cat "$1")); wait for it, or use another folder" >&2
  exit 64
}
if [ "${NODE_RANK:-0}" = 0 ]; then
  exec {LOCK}>> "$FOLDER/logs/.run.lock"
  HELD=0
  flock --nonblock --conflict-exit-code 75 "$LOCK" || HELD=$?
  if [ "$HELD" = 75 ]; then held_by "$FOLDER/logs/.run.lock"; fi
  HELD=0
  flock --nonblock --conflict-exit-code 75 "$FOLDER/.isonet2.lock" true || HELD=$?
  if [ "$HELD" = 75 ]; then held_by "$FOLDER/.isonet2.lock"; fi
  echo "process $$ on $(hostname) since $(date -Iseconds)" > "$FOLDER/logs/.run.lock"
  rm -f "$FOLDER/stop"
  image_digest
else
  exec {LOCK}< /dev/null
fi
trap 'rm -f "$FOLDER/stop"' EXIT

ended() { # ended CODE: the last line says why
  local why="a rank ended without a word; what it said before is in $FOLDER/logs"
  if [ -s "$VERDICT" ]; then why=$(sed -n 2p "$VERDICT")
  elif [ "${NODE_RANK:-0}" = 0 ]; then printf '%s\n%s\n\n' "$1" "$why" > "$VERDICT" # for those who look on from elsewhere
  fi
  echo "run.sh: exit $1: $why" >&2
  exit "$1"
}
stopped() { # before a step that would have been the next
  if [ "${NODE_RANK:-0}" = 0 ]; then printf '75\nstopped (%s); the same command goes on\n%s\n' "$1" "$2" > "$VERDICT"; fi
  ended 75
}

set -m # each step in a process group of its own: Ctrl-C is for this script, which asks the ranks to stop
for STEP in "${STEPS[@]}"; do
  if [ -n "$ASKED" ]; then stopped "run.sh was sent $ASKED" "$STEP: not begun"; fi
  if [ "${NODE_RANK:-0}" = 0 ]; then
    if [ -e "$FOLDER/stop" ]; then stopped "the file $FOLDER/stop" "$STEP: not begun"; fi
    rm -f "$VERDICT"
  fi
  bash "$HERE/$LAUNCHER.sh" run "$JOB" "${SETTINGS[@]}" --stages "$STEP" "${RUN[@]}" < /dev/null {LOCK}>&- &
  LAUNCHED=$!
  while kill -0 "$LAUNCHED" 2> /dev/null; do wait "$LAUNCHED" || sleep 0.1; done # a signal ends the waiting, not the step
  CODE=0
  wait "$LAUNCHED" || CODE=$?
  LAUNCHED=
  # Launchers lose exit codes, also to 0, and end ranks with others of their own. Other hosts may see an older verdict.
  SAID=0
  if [ -s "$VERDICT" ]; then read -r SAID < "$VERDICT"; fi
  if [ "$SAID" != 0 ] && { [ "$CODE" != 0 ] || [ "${NODE_RANK:-0}" = 0 ]; }; then CODE=$SAID; fi
  if [ "$CODE" != 0 ]; then ended "$CODE"; fi
done
