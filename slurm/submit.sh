#!/usr/bin/env bash
# Check a job and submit it to Slurm with what its resources section asks for:
#   bash slurm/submit.sh job.yaml [section.key=value …] [--script refine|denoise|predict] [--restart] [--force] [-- sbatch's options …]
#   bash slurm/submit.sh job.yaml [section.key=value …] --array[=N] [-- sbatch's options …]
# --array: predict, one tomogram a task, at most N at once; a job behind it writes the STAR file and the report.
# Where resources says nothing, slurm/site.env and the #SBATCH lines of slurm/refine.sh (denoise.sh, predict.sh) hold.
set -euo pipefail
unset CDPATH # with it, cd says where it went
HERE=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 1 ] || { sed -n '2,6s/^# //p' "$0" >&2; exit 64; }

JOB=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
shift
SCRIPT=
ARRAY=
SETTINGS=()
RUN=()
while [ $# -gt 0 ]; do
  case $1 in
    --script)
      [ $# -ge 2 ] || { echo "submit.sh: --script needs refine, denoise or predict" >&2; exit 64; }
      SCRIPT=$2
      shift 2
      ;;
    --script=*) SCRIPT=${1#*=}; shift ;;
    --array) ARRAY=all; shift ;;
    --array=*) ARRAY=%${1#*=}; shift ;;
    --restart | --force) RUN+=("$1"); shift ;;
    --set) shift ;; # --set key=value is key=value
    --) shift; break ;;
    -*) echo "submit.sh: $1: unknown option; sbatch's own come after --" >&2; exit 64 ;;
    *) SETTINGS+=(--set "$1"); shift ;;
  esac
done
if [ -n "$ARRAY" ]; then SCRIPT=${SCRIPT:-predict}; fi
case ${SCRIPT:=refine} in
  predict) ;;
  refine | denoise) [ -z "$ARRAY" ] || { echo "submit.sh: --array predicts: leave out --script $SCRIPT" >&2; exit 64; } ;;
  *) echo "submit.sh: --script $SCRIPT: take refine, denoise or predict" >&2; exit 64 ;;
esac

# shellcheck source=slurm/site.sh
. "$HERE/site.sh"
# shellcheck source=launch/python.sh
. "$HERE/../launch/python.sh"
# shellcheck source=launch/container.sh
. "$HERE/../launch/container.sh"
contain "$JOB" "${SETTINGS[@]}"
python() { ISONET2_GPU=none "$PYTHON" "$@"; } # a login node may have no GPU
python -m isonet2 validate "$JOB" "${SETTINGS[@]}" < /dev/null || no_start $?
PLAN=$(python -m isonet2 plan "$JOB" "${SETTINGS[@]}" --json < /dev/null)
PLAN=$(python "$HERE/../launch/plan.py" <<< "$PLAN")
eval "$PLAN" # FOLDER, SBATCH, SBATCH_ONE, TOMOGRAMS, CONTAINER
as_isonet2_reads_it "${CONTAINER[@]}"
if [ -n "$ARRAY" ]; then # each task, and the one that writes the STAR file, is one rank
  [ -n "$TOMOGRAMS" ] ||
    { echo "submit.sh: --array: which tomograms there are is known once prepare_star has run" >&2; exit 64; }
  SBATCH=("${SBATCH_ONE[@]}")
  SETTINGS+=(--set resources.nodes=1 --set resources.ranks_per_node=1)
fi
mkdir -p "$FOLDER/logs"

submit() { # submit [options of this job]: its number
  sbatch --parsable "${SBATCH[@]}" --output="$FOLDER/logs/slurm-%j.out" "$@" "$HERE/$SCRIPT.sh" "$JOB" "${SETTINGS[@]}" "${RUN[@]}"
}

submit --test-only "$@"
if [ -z "$ARRAY" ]; then
  NUMBER=$(submit "$@")
  echo "submitted as $NUMBER; its output: $FOLDER/logs/slurm-${NUMBER%%;*}.out"
  exit
fi
TASKS=$(submit --array="$TOMOGRAMS${ARRAY#all}" --output="$FOLDER/logs/slurm-%A_%a.out" "$@")
WRITER=$(submit --dependency="afterany:${TASKS%%;*}" "$@")
echo "submitted as $TASKS, tasks $TOMOGRAMS; behind it, for STAR file and report, $WRITER"
