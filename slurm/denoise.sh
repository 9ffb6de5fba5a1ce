#!/usr/bin/env bash
# Run a job file, or, if it refines too, what comes before that: everything up to denoise, in one Slurm allocation.
# slurm/refine.sh on the same job does the rest later, with other nodes and another wall time if need be.
#   sbatch slurm/denoise.sh job.yaml [--set section.key=value …] [--restart]
# What slurm/refine.sh says holds here too.
#SBATCH --job-name=isonet2-denoise
#SBATCH --nodes=1            # CHANGE with resources.nodes
#SBATCH --ntasks-per-node=1  # CHANGE with resources.ranks_per_node
#SBATCH --gres=gpu:1         # CHANGE: GPUs of a node, one for each task; none for CPUs
#SBATCH --cpus-per-task=8    # CHANGE: cores of a node over tasks of a node
#SBATCH --mem=64G            # CHANGE: for all tasks of a node; isonet2 validate tells what one rank needs
#SBATCH --time=12:00:00      # CHANGE: what your queue allows, at least 15 minutes
#SBATCH --requeue --open-mode=append --signal=B:USR2@300
# CHANGE: add what your site demands, such as #SBATCH --partition=gpu --account=myproject
# CHANGE: modules, Python, network: copy one of slurm/sites/ to slurm/site.env

[ $# -ge 1 ] || { echo "denoise.sh: which job? sbatch slurm/denoise.sh job.yaml" >&2; exit 64; }
# Slurm runs a copy of this file; slurm/ and launch/ lie beside the original.
# CHANGE, to PROJECT=/path/to/isonet2, if you moved this file away from them.
COMMAND=$(scontrol show job "$SLURM_JOB_ID" | sed -n '/^ *Command=/{s///p;q}') # as typed: script and arguments
PROJECT=$(cd "$SLURM_SUBMIT_DIR" && realpath -m "${COMMAND%" $*"}/../..")
# shellcheck source=slurm/batch.sh
. "$PROJECT/slurm/batch.sh" || { echo "denoise.sh: $PROJECT has no slurm/batch.sh: set PROJECT here" >&2; exit 70; }

run_job "$@" --stages ..refine
