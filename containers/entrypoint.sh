#!/bin/sh
# Runs what it is given, a program of the image or else a command of isonet2, with defaults where the host set nothing.
HERE=/opt/isonet2/share
# shellcheck source=containers/defaults.sh
. "$HERE/defaults.sh"
case ${1:---help} in
  -h | --help)
    cat "$HERE/help.txt"
    exec isonet2 --help
    ;;
esac
if command -v -- "$1" > /dev/null; then exec "$@"; fi
exec isonet2 "$@"
