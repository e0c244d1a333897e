#!/usr/bin/env bash
# Puts the router's environment, command, units and config where they belong, and takes them away again.
# Called by `make install` and `make uninstall`, which set every variable read here. With DESTDIR the tree is staged:
# nothing outside DESTDIR is touched and the paths inside it are those without DESTDIR.
set -euo pipefail

: "${PREFIX:?}" "${BINDIR:?}" "${SYSCONFDIR:?}"
DESTDIR=${DESTDIR:-}
PYTHON=${PYTHON:-python3}
here=$(cd "$(dirname "$0")/.." && pwd)

home=$DESTDIR$PREFIX                      # the virtual environment
mark=$home/.devstral-router               # says that the directory is ours to remove
shipped=$home/share/router.yaml           # the config as installed, to tell a changed one by
command=$DESTDIR$BINDIR/devstral-router
units=$DESTDIR$SYSCONFDIR/systemd/system
confdir=$DESTDIR$SYSCONFDIR/devstral-router
config=$confdir/router.yaml

die() { echo "devstral-router: $*" >&2; exit 1; }
systemd_runs() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

install_environment() {
    if [ -e "$home" ] && [ ! -e "$mark" ] && [ -n "$(ls -A "$home")" ]; then
        die "$home exists and is not an installation of devstral-router: choose another PREFIX"
    fi
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "needs Python 3.11 or newer (make install PYTHON=...)"
    mkdir -p "$home/share"
    touch "$mark"
    "$PYTHON" -m venv "$home"
    # From a copy: building in the source tree would leave files there, of whoever installs.
    copy=$(mktemp -d)
    trap 'rm -rf "$copy"' EXIT
    cp -R "$here"/{router,setup.py,pyproject.toml} "$copy"
    [ ! -e "$here/README.md" ] || cp "$here/README.md" "$copy"
    "$home/bin/python" -m pip --disable-pip-version-check --quiet install --upgrade "$copy"
    if [ -n "$DESTDIR" ]; then  # scripts name the interpreter by its staged path
        grep -rlIF "$home" "$home/bin" "$home/pyvenv.cfg" | xargs -r sed -i "s#$home#$PREFIX#g"
    fi
}

install_config() {
    mkdir -p "$confdir"
    if [ -e "$config" ]; then
        echo "kept $config"
    else
        install -m 0644 "$here/conf/router.yaml" "$config"
    fi
    install -m 0644 "$here/conf/router.yaml" "$shipped"
}

install_units() {
    mkdir -p "$units"
    local unit
    for unit in devstral-router.service devstral-router.socket; do
        sed -e "s#/opt/devstral-router/#$PREFIX/#g" -e "s#/etc/devstral-router/#$SYSCONFDIR/devstral-router/#g" \
            "$here/systemd/$unit" > "$units/$unit"
        chmod 0644 "$units/$unit"
    done
    mkdir -p "$DESTDIR$BINDIR"
    ln -sfn "$PREFIX/bin/devstral-router" "$command"
    ! systemd_runs || systemctl daemon-reload
}

remove_units() {
    ! systemd_runs || systemctl disable --now --quiet devstral-router.service devstral-router.socket 2>/dev/null || true
    rm -f "$units/devstral-router.service" "$units/devstral-router.socket"
    ! systemd_runs || systemctl daemon-reload
    if [ "$(readlink "$command" 2>/dev/null)" = "$PREFIX/bin/devstral-router" ]; then rm -f "$command"; fi
}

remove_config() {
    if [ -e "$config" ] && ! cmp -s "$config" "$shipped"; then
        echo "kept $config: it was changed since it was installed"
    else
        rm -f "$config"
    fi
    rmdir "$confdir" 2>/dev/null || true  # a file of secrets beside it stays as well
}

case ${1:-} in
install)
    install_environment
    install_config
    install_units
    echo "installed. Next: name your backends in $SYSCONFDIR/devstral-router/router.yaml, then"
    echo "  systemctl enable --now devstral-router"
    ;;
uninstall)
    [ -e "$mark" ] || die "$home is no installation of devstral-router"
    remove_units
    remove_config
    rm -rf "$home"
    ;;
*)
    die "usage: install.sh install|uninstall"
    ;;
esac
