#!/usr/bin/env bash
# Run a job file on PBS Pro. Written from its documentation, not run by us. From the project's folder:
#   qsub -v JOB=/path/to/job.yaml slurm/pbs.sh
# Five minutes before the wall time ends the ranks save what they have (exit 75): the same command goes on from there.
# For a job that needs several wall times, as many at once: ONE=$(qsub …); TWO=$(qsub -W depend=afterany:$ONE …); …
#PBS -N isonet2
#PBS -l select=1:ncpus=32:ngpus=4:mpiprocs=4:mem=256gb  # CHANGE: select: nodes; mpiprocs: ranks_per_node; a GPU for each
#PBS -l place=scatter
#PBS -l walltime=24:00:00  # CHANGE: what your queue allows
#PBS -j oe
# CHANGE: add what your site demands, such as #PBS -q gpu, #PBS -A myproject, #PBS -l filesystems=home
set -euo pipefail
HOURS=24                      # CHANGE with walltime
PROJECT=${PBS_O_WORKDIR:?}    # CHANGE, to /path/to/isonet2, if you submit from another folder
# CHANGE: load what Python and mpiexec need, if those are modules: module load python cray-pals
# CHANGE: export PYTHON=/path/to/python, if isonet2 is not in the .venv that launch/install.sh makes

export ISONET2_STOP_AT=$(($(date +%s) + HOURS * 3600 - 300)) # PBS sends nothing before it kills
exec bash "$PROJECT/launch/run.sh" "${JOB:?which job? qsub -v JOB=/path/to/job.yaml slurm/pbs.sh}" --launcher mpirun
