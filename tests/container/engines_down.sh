#!/usr/bin/env bash
# End what engines_up.sh started in FOLDER, and nothing else; the folder goes too.
BASE=${1:?which folder?}
DAEMON=$(cat "$BASE/dockerd.pid" 2> /dev/null) || DAEMON=
if [ -n "$DAEMON" ] && grep -qz dockerd "/proc/$DAEMON/cmdline" 2> /dev/null; then
  kill "$DAEMON"
  for _ in $(seq 100); do [ -d "/proc/$DAEMON" ] || break; sleep 0.1; done
fi
findmnt --raw --noheadings --output TARGET | grep "^$BASE/" | sort -r | xargs -r umount # as docker leaves them
rm -rf "$BASE"
