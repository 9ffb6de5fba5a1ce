# shellcheck shell=bash
# Sourced: master_address HOST exports MASTER_ADDR, the IPv4 address at which ranks on all $NODES nodes find rank 0;
# free_port raises MASTER_PORT until nobody on this host, which is the first one as a rule, listens there: two runs of one
# allocation, or two jobs of one host, may have come to the same.
free_port() {
  while (: <> "/dev/tcp/127.0.0.1/$MASTER_PORT") 2> /dev/null; do MASTER_PORT=$((MASTER_PORT + 1)); done
}
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
