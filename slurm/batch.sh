# shellcheck shell=bash
# Sourced by refine.sh, denoise.sh and predict.sh in their allocation; they set PROJECT. Runs the job, and watches:
#   USR2    Slurm's warning that the wall time ends: the ranks stop at a checkpoint (exit 75), and the job is requeued,
#           unless three attempts in a row finished nothing
#   TERM    scancel, or preemption (then Slurm itself requeues): the ranks stop at a checkpoint, and that is all. Where
#           preemption has a grace time, only the ranks hear it, and the job is requeued from here
# The exit code is that of launch/run.sh.
set -euo pipefail
trap 'WARNED=1; pass USR2' USR2
trap 'CANCELLED=1; pass TERM' TERM INT
WARNED=
CANCELLED=
STARTED=

# Modules, Python and network of this site.
# shellcheck source=slurm/site.sh
. "$PROJECT/slurm/site.sh"
# shellcheck source=slurm/attempts.sh
. "$PROJECT/slurm/attempts.sh"
# shellcheck source=launch/python.sh
. "$PROJECT/launch/python.sh"
# shellcheck source=launch/container.sh
. "$PROJECT/launch/container.sh"
export PYTHON
unset SLURM_EXPORT_ENV # of sbatch --export=NONE: srun would hand on nothing

pass() { # pass SIGNAL: on to what runs
  if [ -n "$STARTED" ]; then kill "-$1" "$STARTED" 2> /dev/null || true; fi
}

await() { # await COMMAND…: run it, hearing signals, and leave its exit code in CODE
  CODE=75
  if [ -n "$WARNED$CANCELLED" ]; then return; fi # before there was anything to pass it to
  "$@" &
  STARTED=$!
  while kill -0 "$STARTED" 2> /dev/null; do wait "$STARTED" || true; done # a signal ends the waiting, not the command
  CODE=0
  wait "$STARTED" || CODE=$?
  STARTED=
}

run_job() { # run_job job.yaml [options of launch/run.sh]
  local option options=() logs
  for option in "$@"; do # what began anew does not begin anew again
    if [ "$option" != --restart ] || [ "${SLURM_RESTART_COUNT:-0}" = 0 ]; then options+=("$option"); fi
  done
  await bash "$PROJECT/launch/run.sh" "${options[@]}" --launcher srun
  logs=$(dirname "$1")/logs
  if interrupted "$(sed -n 2p "$logs/verdict" 2> /dev/null)" &&
    finished_something "$logs/attempts" "$SLURM_JOB_ID" "$(sed -n 3p "$logs/verdict")"; then requeue; fi
  exit "$CODE"
}

run_task() { # run_task job.yaml [--set …]: one tomogram, as task of an array
  local note
  contain "$@"
  : "${OMP_NUM_THREADS:=${SLURM_CPUS_PER_TASK:-1}}"
  export OMP_NUM_THREADS
  await "$PYTHON" -m isonet2 run "$@" --stages predict --tomogram "$SLURM_ARRAY_TASK_ID"
  note=$(dirname "$1")/stages/predict/$SLURM_ARRAY_TASK_ID
  if interrupted "$(sed -n 1p "$note.stopped" 2> /dev/null)" &&
    finished_something "$note.attempts" "$SLURM_ARRAY_JOB_ID" "$(sed -n 2p "$note.stopped")"; then requeue; fi
  exit "$CODE"
}

interrupted() { # interrupted WHY: by the end of the wall time, or behind our back; and nobody cancelled
  [ "$CODE" = 75 ] && [ -z "$CANCELLED" ] && { [ -n "$WARNED" ] || [[ $1 == *"(SIGTERM)"* ]]; }
}

requeue() {
  local job=$SLURM_JOB_ID
  if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID; fi
  echo "batch.sh: the wall time ends; job $job goes back into the queue, and on from here"
  scontrol requeue "$job" || echo "batch.sh: this site does not requeue: submit the job again, and it goes on" >&2
}
