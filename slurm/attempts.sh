# shellcheck shell=bash
# Sourced: whether a job that was interrupted and may go back into the queue gets anywhere.
finished_something() { # finished_something FILE JOB WORD: whether WORD is not that of all of the job's last three attempts
  local job='' count=0 before=''
  if [ -f "$1" ]; then read -r job count before < "$1"; fi
  if [ "$2 $3" = "$job $before" ]; then count=$((count + 1)); else count=0; fi
  echo "$2 $count $3" > "$1"
  [ "$count" -lt 3 ] || {
    echo "nothing new in three attempts: not requeued; take a longer wall time or less checkpoint_minutes" >&2
    return 1
  }
}
