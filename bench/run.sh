#!/bin/sh
# Get the benchmark's tools and run it. Arguments go to `python -m bench` (see its --help).
#   PYTHON        interpreter with the router's dependencies (default: .venv/bin/python, else python3)
#   VLLM_ROUTER   pip requirement of the peer (default: the version that the bars were set against)
# vllm-router goes into an environment of its own in the cache folder, never into the tree or the router's environment.
set -eu
cd "$(dirname "$0")/.."

if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    [ ! -x .venv/bin/python ] || PYTHON=.venv/bin/python
fi
cache="${XDG_CACHE_HOME:-$HOME/.cache}/devstral-router/bench"
peer="${VLLM_ROUTER:-vllm-router==0.1.17}"

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
    [ "$1" != nginx ] || ! have systemctl || systemctl disable --now --quiet nginx 2>/dev/null || true
}

get wrk wrk
get nginx nginx-light
get cc 'gcc libc6-dev'
have wrk || { note "nothing can be measured without wrk"; exit 2; }

if [ "$(cat "$cache/.installed" 2>/dev/null)" != "$peer" ]; then
    note "installing $peer into $cache"
    mkdir -p "$cache"
    if "$PYTHON" -m venv --clear "$cache" && "$cache/bin/pip" install -qq --disable-pip-version-check "$peer" >&2; then
        echo "$peer" >"$cache/.installed"
    else
        note "$peer could not be installed"
    fi
fi

exec "$PYTHON" -m bench "$@"
