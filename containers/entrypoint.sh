#!/bin/sh
# Runs what it is given, a program of the image or else a command of isonet2, with defaults where the host said nothing.
# (Under Apptainer what an image's environment sets would win over the host: so this is its runscript too.)
: "${MPLCONFIGDIR:=${TMPDIR:-/tmp}/isonet2-matplotlib-$(id -u)}" # a home may be missing, or full
: "${PYTHONUNBUFFERED:=1}"
export MPLCONFIGDIR PYTHONUNBUFFERED
case ${1:---help} in
  -h | --help)
    cat /isonet2/share/help.txt
    exec isonet2 --help
    ;;
esac
if command -v -- "$1" > /dev/null; then exec "$@"; fi
exec isonet2 "$@"
