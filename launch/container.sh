# shellcheck shell=bash
# Sourced by what starts "$PYTHON". contain JOB [--set …] makes contained.sh of it, which runs python in the image of
# the job's container section, or else of the site: ISONET2_IMAGE, with ISONET2_RUNTIME, ISONET2_GPU and ISONET2_BINDS
# (commas between them). isonet2, which reads job files, may be nowhere but in that image: so the section is read here
# first, and as_isonet2_reads_it compares, once isonet2 can be asked.
no_container() { # no_container WHY
  echo "container: $1" >&2
  exit 64
}

declare -A SAID=() # what the section says, by its keys; binds one a line
hear() { # hear TEXT: keys and values, in a block, in braces, or as JSON
  local line key=container
  while IFS= read -r line; do
    if [[ $line =~ ^([a-z]+):(\ +(.*))?$ ]]; then
      key=${BASH_REMATCH[1]} line=${BASH_REMATCH[3]}
      SAID[$key]=
    fi
    case $line in \"*\" | \'*\') line=${line:1:-1} ;; esac
    if [ -z "$line" ]; then continue; fi
    [[ $key = binds || -z ${SAID[$key]:-} ]] || no_container "'$line' is not understood here: write one key or bind a line"
    SAID[$key]+=${SAID[$key]:+$'\n'}$line
  done < <(sed -E "s/^[ \t]*(- +)?//; s/[ \t]+$//; s/^([\"'])([a-z]+)\1[ \t]*:/\2: /" <<< "${1//[][{\},]/$'\n'}")
}

read_container() { # read_container JOB [--set …]: READ, an array: image, runtime, gpu, binds; empty without a section
  local text word flow='[{,][[:space:]]*["'\'']?container["'\'']?[[:space:]]*:[[:space:]]*\{[^}]*\}'
  [ -r "$1" ] || no_container "$1: no such job file, or it cannot be read"
  text=$(sed -E 's/^\xEF\xBB\xBF//; s/(^|[[:space:]])#.*//; s/\r$//' "$1")
  if [[ $text =~ $flow ]]; then hear "${BASH_REMATCH[0]}" # the file is one mapping in braces
  else hear "$(awk '/^[^ \t]/ {inside = /^["\047]?container["\047]?[ \t]*:/} inside' <<< "$text")"
  fi
  for word in "${@:2}"; do
    word=${word#--set=}
    case $word in
      container=null | container=Null | container=NULL | container='~') SAID=() ;;
      container=* | container.*=*) word=${word#container.}; hear "${word%%=*}: ${word#*=}" ;;
    esac
  done
  READ=()
  if [ ${#SAID[@]} = 0 ]; then
    [[ $'\n'$text != *$'\n'[[:blank:]]*([[:blank:]])container*([[:blank:]]):* ]] || no_container "the section is indented: write it at the margin"
    return
  fi
  [ -n "${SAID[image]:-}" ] || no_container "the section names no image; if it does, write image: on a line of its own"
  READ=("${SAID[image]}" "${SAID[runtime]:-auto}" "${SAID[gpu]:-none}")
  if [ -n "${SAID[binds]:-}" ]; then mapfile -t -O 3 READ <<< "${SAID[binds]}"; fi
}

as_isonet2_reads_it() { # as_isonet2_reads_it IMAGE RUNTIME GPU BINDS…: or nothing, without a section
  [ "$(printf '%s\n' "${READ[@]}")" = "$(printf '%s\n' "$@")" ] ||
    no_container "taken for '${READ[*]}' where isonet2 reads '$*': write one key or bind a line"
}

first_of() { # first_of NAME…: the first that is installed
  for ISONET2_RUNTIME in "$@"; do
    if command -v "$ISONET2_RUNTIME" > /dev/null; then
      if [ "$ISONET2_RUNTIME" = docker ] && [[ $(docker --version) = podman* ]]; then ISONET2_RUNTIME=podman; fi # by another name
      return
    fi
  done
  no_container "$ISONET2_IMAGE needs $1, and there is none in the PATH: load its module, or install it"
}

from() { # from FOLDER PATH: the path that a job in this folder means
  case $2 in
    /*) echo "$2" ;;
    '~'/*) echo "$HOME/${2:2}" ;;
    *) echo "$1/$2" ;;
  esac
}

contain() { # contain JOB [--set …]
  local file bind host pulled binds=
  read_container "$@"
  ISONET2_FOLDER=$(cd "$(dirname "$1")" && pwd)
  if [ ${#READ[@]} != 0 ]; then
    ISONET2_IMAGE=${READ[0]} ISONET2_RUNTIME=${READ[1]} ISONET2_GPU=${READ[2]}
    ISONET2_BINDS=$(IFS=,; echo "${READ[*]:3}")
  fi
  if [ -z "${ISONET2_IMAGE:-}" ] || [ -n "${ISONET2_IN_CONTAINER:-}${APPTAINER_CONTAINER:-}" ]; then return; fi

  file=$(from "$ISONET2_FOLDER" "$ISONET2_IMAGE")
  case ${ISONET2_RUNTIME:=auto} in
    auto)
      if [[ -f $file || -d $file/.singularity.d || $ISONET2_IMAGE = *.sif || $ISONET2_IMAGE = *://* ]]; then
        first_of apptainer singularity
      else first_of docker podman
      fi
      ;;
    apptainer | singularity | docker | podman) first_of "$ISONET2_RUNTIME" ;;
    *) no_container "runtime $ISONET2_RUNTIME: take auto, apptainer, singularity, docker or podman" ;;
  esac

  case $ISONET2_RUNTIME in
    docker | podman)
      ISONET2_IMAGE=${ISONET2_IMAGE#docker://}
      image_id > /dev/null 2>&1 || "$ISONET2_RUNTIME" pull "$ISONET2_IMAGE" >&2 ||
        no_container "$ISONET2_RUNTIME has no image $ISONET2_IMAGE and finds none (a .sif file needs apptainer)"
      ;;
    *)
      if [[ $ISONET2_IMAGE = *://* ]]; then # once, not by each rank
        file=$ISONET2_FOLDER/${ISONET2_IMAGE//[^[:alnum:].-]/_}.sif
        if [ -e "$file" ]; then echo "container: $file, pulled on $(date -r "$file" +%F); without it, it is pulled again" >&2
        else
          pulled=$file.$(hostname).$$
          { "$ISONET2_RUNTIME" pull "$pulled" "$ISONET2_IMAGE" >&2 && mv "$pulled" "$file"; } ||
            { rm -f "$pulled"; no_container "$ISONET2_IMAGE cannot be pulled to $file"; }
        fi
      fi
      [ -r "$file" ] || no_container "$file: no such file, or it cannot be read (in a registry: docker://NAME)"
      ISONET2_IMAGE=$file
      ;;
  esac

  while IFS= read -r -d , bind; do
    if [ -z "$bind" ]; then continue; fi
    [[ $bind =~ ^([^:]+)(:/[^:]*)?(:r[ow])?$ ]] ||
      no_container "binds: '$bind': needs a folder, or folder:/folder/inside, each with :ro or not"
    host=$(from "$ISONET2_FOLDER" "${BASH_REMATCH[1]}")
    [ -e "${host%/}" ] || no_container "binds: $host: there is no such folder here, or it is the whole of this host"
    binds+=${host%/}${BASH_REMATCH[2]:-:${host%/}}${BASH_REMATCH[3]},
  done <<< "${ISONET2_BINDS:-},"
  ISONET2_BINDS=$binds
  PYTHON=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/contained.sh
  export PYTHON ISONET2_IMAGE ISONET2_RUNTIME ISONET2_GPU ISONET2_BINDS ISONET2_FOLDER
}

no_start() { # no_start CODE: of the first python, which ends so where the image cannot be started
  if [ "${PYTHON##*/}" = contained.sh ]; then
    case $1 in 125 | 126 | 127 | 255) no_container "$ISONET2_RUNTIME could not start $ISONET2_IMAGE, and ended with $1" ;; esac
  fi
  exit "$1"
}

image_id() { # of docker or podman: where it is from with its digest, or its own number
  local words='{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}'
  "$ISONET2_RUNTIME" image inspect --format "$words" "$ISONET2_IMAGE"
}

image_digest() { # ISONET2_IMAGE_DIGEST, for provenance.json; empty for a folder
  if [ "${PYTHON##*/}" != contained.sh ]; then return; fi
  case $ISONET2_RUNTIME in
    docker | podman) ISONET2_IMAGE_DIGEST=$(image_id) ;;
    *)
      ISONET2_IMAGE_DIGEST=
      if [ -f "$ISONET2_IMAGE" ]; then ISONET2_IMAGE_DIGEST=sha256:$(sha256sum < "$ISONET2_IMAGE" | cut -d' ' -f1); fi
      ;;
  esac
  export ISONET2_IMAGE_DIGEST
}
