# shellcheck shell=sh
# Sourced by the entrypoint and, under Apptainer, by its environment: what holds where the host said nothing.
: "${MPLCONFIGDIR:=${TMPDIR:-/tmp}/isonet2-matplotlib-$(id -u)}" # a home may be missing or full
: "${TORCHINDUCTOR_CACHE_DIR:=${TMPDIR:-/tmp}/isonet2-torch-$(id -u)}"
: "${TRITON_CACHE_DIR:=${TMPDIR:-/tmp}/isonet2-triton-$(id -u)}"
: "${PYTHONUNBUFFERED:=1}"
export MPLCONFIGDIR TORCHINDUCTOR_CACHE_DIR TRITON_CACHE_DIR PYTHONUNBUFFERED
