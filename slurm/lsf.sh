#!/usr/bin/env bash
# Run a job file on LSF. Written from its documentation, not run by us. From the project's folder:
#   JOB=/path/to/job.yaml bsub < slurm/lsf.sh
# Five minutes before the run limit the ranks save what they have (exit 75); LSF then queues the job again (-Q "75"), and
# it goes on from there, but not after three attempts that finished nothing.
#BSUB -J isonet2
#BSUB -n 4                     # CHANGE: nodes × ranks_per_node
#BSUB -R "span[ptile=4]"       # CHANGE: ranks_per_node
#BSUB -R "affinity[core(8)]"   # CHANGE: cores for each rank
#BSUB -gpu "num=4/host"        # CHANGE: GPUs of a node, one for each rank
#BSUB -W 24:00                 # CHANGE: what your queue allows
#BSUB -Q "75"
#BSUB -o isonet2-%J.out
# CHANGE: add what your site demands, such as #BSUB -q gpu, #BSUB -P myproject
set -euo pipefail
HOURS=24                     # CHANGE with -W
PROJECT=${LS_SUBCWD:?}       # CHANGE, to /path/to/isonet2, if you submit from another folder
# CHANGE: load what Python and mpiexec need, if those are modules: module load python spectrum-mpi
# CHANGE: export PYTHON=/path/to/python, if isonet2 is not in the .venv that launch/install.sh makes

export ISONET2_STOP_AT=$(($(date +%s) + HOURS * 3600 - 300)) # a signal of LSF would also reach mpiexec, and end it
# shellcheck source=slurm/attempts.sh
. "$PROJECT/slurm/attempts.sh"
CODE=0
bash "$PROJECT/launch/run.sh" "${JOB:?which job? JOB=/path/to/job.yaml bsub < slurm/lsf.sh}" --launcher mpirun || CODE=$?
LOGS=$(dirname "$JOB")/logs
if [ "$CODE" = 75 ]; then finished_something "$LOGS/attempts" "$LSB_JOBID" "$(sed -n 3p "$LOGS/verdict")" || CODE=1; fi
exit "$CODE"
