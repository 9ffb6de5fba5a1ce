#!/usr/bin/env bash
# Predict and report only, for a job whose other stages are finished:
#   sbatch slurm/predict.sh job.yaml [--set section.key=value …]     all tomograms, shared out over the tasks
#   bash slurm/submit.sh job.yaml --array                            one tomogram a task of a Slurm array
# In an array, task K predicts the tomogram whose rlnIndex is K, on one rank, and leaves stages/predict/K.ok or K.fail
# in the job's folder; outputs that are whole are kept. It writes nothing else: this script without an array, which
# submit.sh queues behind it, tries once more what failed, and is the one writer of the STAR file and the report.
# What slurm/refine.sh says holds here too.
#SBATCH --job-name=isonet2-predict
#SBATCH --nodes=1            # CHANGE with resources.nodes; 1 in an array
#SBATCH --ntasks-per-node=1  # CHANGE with resources.ranks_per_node; 1 in an array
#SBATCH --gres=gpu:1         # CHANGE: GPUs of a node, one for each task; none for CPUs
#SBATCH --cpus-per-task=8    # CHANGE: cores of a node over tasks of a node
#SBATCH --mem=32G            # CHANGE: for all tasks of a node; isonet2 validate tells what one rank needs
#SBATCH --time=04:00:00      # CHANGE: what your queue allows, at least 15 minutes
#SBATCH --requeue --open-mode=append --signal=B:USR2@300
# CHANGE: add what your site demands, such as #SBATCH --partition=gpu --account=myproject
# CHANGE: modules, Python, network: copy one of slurm/sites/ to slurm/site.env

[ $# -ge 1 ] || { echo "predict.sh: which job? sbatch slurm/predict.sh job.yaml" >&2; exit 64; }
# Slurm runs a copy of this file; slurm/ and launch/ lie beside the original.
# CHANGE, to PROJECT=/path/to/isonet2, if you moved this file away from them.
COMMAND=$(scontrol show job "$SLURM_JOB_ID" | sed -n '/^ *Command=/{s///p;q}') # as typed: script and arguments
PROJECT=$(cd "$SLURM_SUBMIT_DIR" && realpath -m "${COMMAND%" $*"}/../..")
# shellcheck source=slurm/batch.sh
. "$PROJECT/slurm/batch.sh" || { echo "predict.sh: $PROJECT has no slurm/batch.sh: set PROJECT here" >&2; exit 70; }

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then run_task "$@"; fi
run_job "$@" --stages predict,report
