#!/usr/bin/env bash
# Run a job file, all its stages, in one Slurm allocation:
#   sbatch slurm/refine.sh job.yaml [--set section.key=value …] [--restart]
# Nodes and tasks must be those of the job's resources section. Options before the script win over the lines below:
#   sbatch --nodes=2 --ntasks-per-node=4 --gpus-per-node=4 slurm/refine.sh job.yaml
#SBATCH --job-name=isonet2
#SBATCH --nodes=1            # CHANGE with resources.nodes
#SBATCH --ntasks-per-node=1  # CHANGE with resources.ranks_per_node
#SBATCH --gpus-per-node=1    # CHANGE: one for each task; some sites want --gres=gpu:1; 0 for CPUs
#SBATCH --cpus-per-task=8    # CHANGE: cores of a node over tasks of a node
#SBATCH --mem=64G            # CHANGE: for all tasks of a node; isonet2 validate tells what one rank needs
#SBATCH --time=24:00:00      # CHANGE: what your queue allows
# CHANGE: add what your site demands, such as #SBATCH --partition=gpu --account=myproject

# CHANGE: load what Python needs here, if that is a module: module load python/3.11
# CHANGE: export PYTHON=/path/to/python, if isonet2 is not in the .venv that launch/install.sh makes

set -euo pipefail
[ $# -ge 1 ] || { echo "refine.sh: which job? sbatch slurm/refine.sh job.yaml" >&2; exit 64; }

# Slurm runs a copy of this file; launch/ lies beside the original. CHANGE, to PROJECT=/path/to/isonet2, if you moved it.
COMMAND=$(scontrol show job "$SLURM_JOB_ID" | sed -n 's/^ *Command=//p') # as typed: script and arguments
PROJECT=$(cd "$SLURM_SUBMIT_DIR" && realpath -m "${COMMAND%" $*"}/../..")
[ -f "$PROJECT/launch/run.sh" ] ||
  { echo "refine.sh: there is no launch/run.sh in $PROJECT: set PROJECT in this script" >&2; exit 70; }

exec bash "$PROJECT/launch/run.sh" "$@" --launcher srun
