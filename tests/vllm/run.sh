#!/usr/bin/env bash
# Tests against real vLLM servers: `make test-vllm`. Extra arguments go to pytest; with --install-only nothing is run.
#
# vLLM (1.9 GB, about a minute) and the client SDKs (0.4 GB, half a minute) are installed once, into
# ${XDG_CACHE_HOME:-~/.cache}/devstral-router/{vllm,clients}-<hash of their locks>, and used again. Where they cannot
# run, the reason is printed and nothing fails, unless ROUTER_CI=1.
#   ROUTER_PYTHON       Python with the router and its test extra; default: .venv/bin/python, else python3
#   PYTHON311           Python 3.11 to install with; default: the first one found
#   ROUTER_VLLM         a vLLM that recipe/vllm.sh has installed: nothing is installed
#   ROUTER_VLLM_DIRECT  not empty: the tests talk to vLLM itself, to check what they expect
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
time_limit=1200 # seconds for the tests; they take 450 to 600 on two cores
cache=${XDG_CACHE_HOME:-$HOME/.cache}/devstral-router

cannot_run() {
    echo "test-vllm: skipped: $1" >&2
    if [ "${ROUTER_CI:-}" = 1 ]; then
        echo "test-vllm: that is a failure, because ROUTER_CI=1" >&2
        exit 1
    fi
    exit 0
}

is_python311() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1
}

find_python311() {
    local candidate
    for candidate in "${PYTHON311:-}" python3.11 /usr/bin/python3.11 /usr/local/bin/python3.11 python3 "$python"; do
        if [ -n "$candidate" ] && is_python311 "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# once FOLDER COMMAND: let the command make the folder, a venv, unless that was done before; one at a time.
once() {
    local made=$1 install=$2
    mkdir -p "$cache"
    exec 9>"$made.lock"
    flock 9
    # The mark is written last, so a half installation is never used; nor is one whose Python has gone.
    if ! [ -e "$made/complete" ] || ! is_python311 "$made/bin/python"; then
        echo "test-vllm: installing into $made" >&2
        rm -rf "$made"
        "$install" "$made"
        touch "$made/complete"
    fi
    exec 9>&-
}

key() { cat "$@" | sha256sum | cut -c 1-16; }

install_vllm() { PYTHON311=$python311 "$here/recipe/vllm.sh" install "$1"; }

install_clients() {
    "$python311" -m venv "$1"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -r "$here/clients/clients.lock"
    if has_node; then
        cp "$here/clients/package.json" "$here/clients/package-lock.json" "$1"
        (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null)
    fi
}

has_node() { # version 18 or newer
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) < 18 ? 1 : 0)' 2>/dev/null
}

end_groups() { # every process group that the tests have left
    local group
    [ -e "$folder/groups" ] || return 0
    while read -r group; do
        [ -z "$group" ] || kill -KILL -- "-$group" 2>/dev/null || true
    done <"$folder/groups"
}

finish() {
    local status=$?
    trap - EXIT INT TERM HUP
    if [ -n "$tests" ]; then
        kill -TERM "$tests" 2>/dev/null && wait "$tests" || true
    fi
    end_groups
    if [ "$status" = 0 ]; then
        rm -rf "$folder"
    else
        echo "test-vllm: the logs of the servers and of the router are in $folder" >&2
    fi
    exit "$status"
}

python=${ROUTER_PYTHON:-$root/.venv/bin/python}
command -v "$python" >/dev/null || python=python3
if ! "$python" -c 'import openai, pytest, uvloop' 2>/dev/null; then
    echo "test-vllm: $python has no test environment: run \`make test-vllm\`, or set ROUTER_PYTHON" >&2
    exit 1
fi
[ "$(uname -sm)" = "Linux x86_64" ] || cannot_run "the CPU build of vLLM is for Linux on x86-64"
grep -q -w avx2 /proc/cpuinfo || cannot_run "the CPU build of vLLM needs AVX2"
python311=$(find_python311) || cannot_run "no Python 3.11 with venv found (PYTHON311 may name one)"
has_node || [ "${ROUTER_CI:-}" != 1 ] || cannot_run "no node and npm of version 18 or newer found"
venv=${ROUTER_VLLM:-}
if [ -z "$venv" ]; then
    venv=$cache/vllm-$(key "$here/recipe/vllm.lock" "$here/recipe/vllm.sh")
    once "$venv" install_vllm
fi
clients=$cache/clients-$(key "$here/clients/clients.lock" "$here/clients/package-lock.json" <(has_node && echo node))
once "$clients" install_clients
[ "${1:-}" != --install-only ] || exit 0

folder=$(mktemp -d "${TMPDIR:-/tmp}/router-vllm.XXXXXX")
tests=
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP
for version in v11 v13; do
    "$here/recipe/vllm.sh" model "$venv" "$folder/models/$version" --tekken-version "$version"
done
mkdir "$folder/clients" # a program of node finds its modules beside itself
ln -s "$clients" "$folder/clients/venv"
[ ! -d "$clients/node_modules" ] || ln -s "$clients/node_modules" "$folder/clients"
cp "$here/clients/ai_sdk.mjs" "$folder/clients"
cd "$root"
ROUTER_VLLM=$venv ROUTER_VLLM_MODELS=$folder/models ROUTER_VLLM_CLIENTS=$folder/clients ROUTER_VLLM_FOLDER=$folder \
    timeout --kill-after=20 "$time_limit" "$python" -m pytest "$here" "$@" &
tests=$!
wait "$tests" && status=0 || status=$?
tests=
exit "$status"
