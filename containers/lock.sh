#!/usr/bin/env bash
# Renew lock files, all with hashes. Needs uv (pip install uv), and for other builds of torch a way to PyTorch's index.
#   bash containers/lock.sh                       packages, dev, build, mpich, and torch-cu130, which is torch of PyPI
#   bash containers/lock.sh cpu|cu126|rocm7.2     torch-BUILD.lock, from https://download.pytorch.org/whl/BUILD
# All but torch's are for any Python from 3.10 on. torch is apart, since each of its builds brings other packages.
set -euo pipefail
cd "$(dirname "$0")"
TORCH=2.13.0
OF_TORCH='^(torch|triton|triton-rocm|pytorch-triton-rocm|cuda-[a-z-]+|nvidia-[a-z0-9-]+)=='

lock() { # lock FILE PACKAGES [uv's options]: PACKAGES is an awk condition on the first line of one
  local file=$1 packages=$2
  shift 2
  {
    echo "# Made by containers/lock.sh; do not edit."
    grep '^# UNVERIFIED' "$file" || true # until somebody has tried it
    uv pip compile --universal --generate-hashes --no-header --no-annotate --quiet "$@" |
      awk "/^[^ ]/ { on = $packages } on"
  } > "$file.new"
  mv "$file.new" "$file"
  echo "$file: $(grep -c '^[^ #]' "$file") packages"
}

if [ $# = 0 ]; then
  lock packages.lock "!/$OF_TORCH/" ../pyproject.toml --python-version 3.10 --constraint <(echo "torch==$TORCH")
  lock dev.lock "!/$OF_TORCH/" ../pyproject.toml --extra dev --python-version 3.10 --constraint <(echo "torch==$TORCH")
  lock build.lock 1 <(echo hatchling) --python-version 3.10
  lock mpich.lock 1 <(echo mpich) --python-version 3.10
  lock torch-cu130.lock "/$OF_TORCH/" <(echo "torch==$TORCH") --python-version 3.10
else
  INDEX=https://download.pytorch.org/whl/$1
  lock "torch-$1.lock" "/$OF_TORCH/" <(echo "torch==$TORCH") --python-version 3.10 --index "$INDEX"
fi
