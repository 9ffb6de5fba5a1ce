# shellcheck shell=bash
# Sourced: master_address HOST exports MASTER_ADDR, the IPv4 address at which ranks on all $NODES nodes find rank 0.
master_address() {
  MASTER_ADDR=127.0.0.1
  if [ "$NODES" -gt 1 ]; then
    MASTER_ADDR=$(getent ahostsv4 "$1" | awk 'NR == 1 {print $1}')
    case $MASTER_ADDR in
      "") echo "$LAUNCHER.sh: the first node, $1, has no IPv4 address here" >&2; exit 70 ;;
      127.*)
        echo "$LAUNCHER.sh: the first node, $1, is $MASTER_ADDR here, where others cannot reach it: mend /etc/hosts" >&2
        exit 70
        ;;
    esac
  fi
  export MASTER_ADDR
}
