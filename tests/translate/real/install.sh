#!/bin/sh
# Install every version of mistral-common that pins.txt names into FOLDER/<version>: `install.sh PYTHON FOLDER`.
# The newest comes with all it needs (and jinja2, which renders its chat templates); the others stand in front of it
# on the path and use the same.
set -eu
python=$1
folder=$2
pins=$(grep -v '^#' "$(dirname "$0")/pins.txt")
newest=$(echo "$pins" | tail -n 1)
install() { "$python" -m pip --disable-pip-version-check --quiet install --no-compile --target "$@"; }

rm -rf "$folder"
mkdir -p "$folder"
install "$folder/$newest" "mistral-common==$newest" jinja2
for version in $pins; do
    [ "$version" = "$newest" ] || install "$folder/$version" --no-deps "mistral-common==$version"
done
