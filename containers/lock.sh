#!/usr/bin/env bash
# Renew the lock files for CPUs: cpu.lock (to run) and dev.lock (to test). Needs uv (pip install uv).
# One file serves Python 3.10 and newer. torch is pinned without a build: pip takes the CPU wheel where an index or a
# folder of wheels offers one, else the CUDA build, which runs on CPUs too; its CUDA packages follow from torch itself.
set -euo pipefail
cd "$(dirname "$0")/.."
TORCH=${TORCH:-2.13.0}

lock() { # lock FILE [uv's options]
  local file=$1
  shift
  {
    echo "# Made by containers/lock.sh; do not edit."
    uv pip compile pyproject.toml --universal --python-version 3.10 --no-header --no-annotate --quiet \
      --constraint <(echo "torch==$TORCH") "$@" | grep -Ev '^(cuda-|nvidia-|triton|torch==)'
    echo "torch==$TORCH"
  } > "$file.new"
  mv "$file.new" "$file"
  echo "$file: $(grep -c '==' "$file") packages"
}

lock containers/cpu.lock
lock containers/dev.lock --extra dev
