#!/bin/sh
# Make .venv from requirements/dev.txt and install Orthros into it, editable.
# Needs only Python >= 3.11 and a package index that pip is configured for. Safe to run again.
# PYTHON=... chooses the interpreter; VENV=... the folder (default .venv).
set -eu

cd "$(dirname "$0")/.."
venv=${VENV:-.venv}

say() { printf 'bootstrap: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

recent_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
has_ensurepip() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

# Prints the first recent interpreter that can make environments, else the first recent one.
find_python() {
    fallback=
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        recent_enough "$candidate" || continue
        if has_ensurepip "$candidate"; then
            echo "$candidate"
            return
        fi
        fallback=${fallback:-$candidate}
    done
    echo "$fallback"
}

# Debian and its kin ship `ensurepip` in a package of its own.
add_ensurepip() {
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "$1 has no ensurepip; installing $package"
        apt-get update -qq >&2
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >&2
    else
        fail "$1 has no ensurepip. Install it and run make again; on Debian and Ubuntu: sudo apt-get install $package"
    fi
}

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 or newer is needed and was not found; install it or set PYTHON=/path/to/python"
    has_ensurepip "$python" || add_ensurepip "$python"
    say "making $venv with $("$python" --version)"
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi

pip() { PIP_DISABLE_PIP_VERSION_CHECK=1 "$venv/bin/python" -m pip --quiet --quiet --no-input "$@"; }

say "installing requirements/dev.txt"
pip install --require-hashes --requirement requirements/dev.txt
pip install --no-deps --no-build-isolation --editable .
touch "$venv/.stamp"
