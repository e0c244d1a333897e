#!/bin/sh
# Get the benchmark's tools and run it. Arguments go to `python -m bench` (see its --help).
#   PYTHON        interpreter with the router's dependencies (default: .venv/bin/python, else python3)
#   VLLM_ROUTER   pip requirement of the peer (default: the version that the bars were set against)
# What comes from Debian is installed here; what comes from PyPI or npm by bench/peers.py, when it is asked for.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi

note() { echo "bench: $*" >&2; }
have() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1; }

get() { # command, Debian packages
    have "$1" && return
    if [ "$(id -u)" != 0 ] || ! have apt-get; then
        note "$1 is missing, and only root can install it here (Debian: apt-get install $2)"
        return
    fi
    note "installing $2"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $2 >/dev/null 2>&1 ||
        { apt-get update -q >/dev/null 2>&1 &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $2 >/dev/null 2>&1; } ||
        note "$2 could not be installed"
    # Debian starts what it installs: the benchmark wants the program, not a web server on port 80.
    case "$1" in nginx | haproxy) ! have systemctl || systemctl disable --now --quiet "$1" 2>/dev/null || true ;; esac
}

get wrk wrk
get nginx nginx-light
get cc 'gcc libc6-dev'
case "$*" in *--peers*all* | *haproxy*) get haproxy haproxy ;; esac
case "$*" in *--peers*all* | *portkey*) get node nodejs && get npm npm ;; esac
have wrk || { note "nothing can be measured without wrk"; exit 2; }

exec "$PYTHON" -m bench "$@"
