#!/usr/bin/env bash
# A real Docker daemon, a slim Debian to build on, and a real Apptainer, on Debian 12 (root): installs what is missing.
#   bash tests/container/engines_up.sh FOLDER       some two minutes on a new machine
#   FOLDER/environment                              what to export: DOCKER_HOST, PATH
#   bash tests/container/engines_down.sh FOLDER     ends the daemon, and removes what it keeps
# The image isonet2-base:bookworm is then there. Apptainer is not in Debian 12: its package of a newer release goes with
# that release's C library to /opt/apptainer-runtime, and the system's own is left alone.
set -euo pipefail
BASE=${1:?in which folder?}
RUNTIME=/opt/apptainer-runtime
LIBRARIES=/usr/lib/x86_64-linux-gnu
HERE=$(cd "$(dirname "$0")" && pwd)
[ "$(id -u)" = 0 ] || { echo "engines_up: needs root, for a daemon" >&2; exit 2; }
mkdir -p "$BASE"
export DEBIAN_FRONTEND=noninteractive
trap '[ $? = 0 ] || bash "$HERE/engines_down.sh" "$BASE" >&2' EXIT

install_packages() {
  { apt-get update -qq && apt-get install -y --no-install-recommends "$@"; } > "$BASE/apt.log" 2>&1 ||
    { echo "engines_up: apt-get install $*: $(tail -n 1 "$BASE/apt.log")" >&2; exit 3; }
}

# The client alone may be there.
NEEDED=()
[ -x /usr/sbin/dockerd ] || NEEDED+=(docker.io)
command -v mmdebstrap > /dev/null || NEEDED+=(mmdebstrap)
for pair in mksquashfs=squashfs-tools squashfuse_ll=squashfuse newuidmap=uidmap patchelf=patchelf fusermount3=fuse3; do
  command -v "${pair%=*}" > /dev/null || NEEDED+=("${pair#*=}")
done
[ ${#NEEDED[@]} = 0 ] || install_packages "${NEEDED[@]}"

export DOCKER_HOST=unix://$BASE/docker.sock
setsid /usr/sbin/dockerd --host "$DOCKER_HOST" --data-root "$BASE/docker" --exec-root "$BASE/exec" \
  --pidfile "$BASE/dockerd.pid" --iptables=false --ip6tables=false --bridge=none --storage-driver overlay2 \
  < /dev/null > "$BASE/dockerd.log" 2>&1 &
for _ in $(seq 150); do docker version > /dev/null 2>&1 && break; sleep 0.2; done
docker version > /dev/null || { echo "engines_up: dockerd: $(tail -n 1 "$BASE/dockerd.log")" >&2; exit 3; }

# No registry is in reach: what debian:bookworm-slim is, made of Debian's packages.
# shellcheck disable=SC2016 # apt-get's own words
MIRROR=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)
if ! docker image inspect isonet2-base:bookworm > /dev/null 2>&1; then
  mmdebstrap --quiet --variant=minbase --include=ca-certificates \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm - "$MIRROR" 2> "$BASE/mmdebstrap.log" |
    docker import - isonet2-base:bookworm > /dev/null ||
    { echo "engines_up: mmdebstrap: $(tail -n 1 "$BASE/mmdebstrap.log")" >&2; exit 3; }
fi

if ! apptainer --version > /dev/null 2>&1; then
  W=$BASE/apptainer
  mkdir -p "$W"/{lists/partial,cache/archives/partial,program,libraries}
  cd "$W"
  for suite in sid trixie; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR $suite main"
  done > sources.list
  APT=(-o "Dir::Etc::sourcelist=$W/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null
    -o "Dir::State::lists=$W/lists" -o Dir::State::status=/var/lib/dpkg/status -o "Dir::Cache=$W/cache"
    -o Acquire::Languages=none -o APT::Sandbox::User=root)
  { apt-get "${APT[@]}" update -qq && apt-get "${APT[@]}" download -qq apptainer libc6/trixie libseccomp2/trixie \
    libsqlite3-0/trixie; } > "$BASE/apt.log" 2>&1 ||
    { echo "engines_up: apptainer: $(tail -n 1 "$BASE/apt.log")" >&2; exit 3; }
  dpkg-deb -x apptainer_*.deb program
  for package in libc6_*.deb libseccomp2_*.deb libsqlite3-0_*.deb; do dpkg-deb -x "$package" libraries; done
  rm -rf "$RUNTIME" "$LIBRARIES/apptainer"
  mkdir -p "$RUNTIME" /var/lib/apptainer/mnt/session
  cp -a "libraries$LIBRARIES/." "$RUNTIME/"
  cp -a program/etc/apptainer /etc/
  cp -a "program$LIBRARIES/apptainer" "$LIBRARIES/"
  cp -a program/usr/bin/apptainer /usr/bin/
  for program in /usr/bin/apptainer "$LIBRARIES/apptainer/bin/starter"; do
    patchelf --set-interpreter "$RUNTIME/ld-linux-x86-64.so.2" "$program"
    patchelf --force-rpath --set-rpath "$RUNTIME" "$program"
  done
  for library in "$RUNTIME"/libsqlite3.so.0.*.* "$RUNTIME"/libseccomp.so.2.*.*; do
    patchelf --force-rpath --set-rpath "$RUNTIME" "$library"
  done
  # Root of a container may not have all that "full" asks for, and then no program starts.
  sed -i 's/^root default capabilities = full/root default capabilities = no/' /etc/apptainer/apptainer.conf
fi

# `apptainer build` insists on capabilities that this root may lack: a namespace of its own gives them.
mkdir -p "$BASE/bin"
cat > "$BASE/bin/apptainer" <<'WRAPPER'
#!/usr/bin/env bash
[ "${1:-}" = build ] || exec /usr/bin/apptainer "$@"
PIPES=$(mktemp -d)
mkfifo "$PIPES/began" "$PIPES/mapped"
{
  read -r CHILD < "$PIPES/began"
  echo "0 0 65536" > "/proc/$CHILD/uid_map"
  echo "0 0 65536" > "/proc/$CHILD/gid_map"
  echo > "$PIPES/mapped"
} &
exec unshare --user --mount bash -c \
  'echo $$ > "$0/began"; read -r _ < "$0/mapped"; rm -r "$0"; exec /usr/bin/apptainer "$@"' "$PIPES" "$@"
WRAPPER
chmod 755 "$BASE/bin/apptainer"
# shellcheck disable=SC2016 # of whoever sources it
printf 'export DOCKER_HOST=%q PATH=%q:"$PATH"\n' "$DOCKER_HOST" "$BASE/bin" > "$BASE/environment"
