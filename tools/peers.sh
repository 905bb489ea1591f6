#!/bin/sh
# Install the software that the interop tests talk to and that no Python index has: nginx, Node.js, three npm packages.
# Debian packages need root and apt-get; without them whatever is there already is used, and the tests that
# need the rest are skipped by name. Safe to run again. VENV=... names the folder of the stamp (default .venv).
set -eu

cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
folder=tests/interop/node

say() { printf 'peers: %s\n' "$*" >&2; }
have() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1; }

missing=
have nginx || missing="$missing nginx"
have curl || missing="$missing curl"
have node || missing="$missing nodejs"
have npm || missing="$missing npm"

if [ -n "$missing" ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "installing$missing"
        # The packages' own services stay off: the tests start what they need, where they need it.
        policy=/usr/sbin/policy-rc.d
        own_policy=
        if [ ! -e "$policy" ]; then
            own_policy=yes
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        # shellcheck disable=SC2086 # a list of words
        if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >&2; then
            say "WARNING: the package registry lacks one of:$missing. TESTS THAT NEED THEM WILL BE SKIPPED."
        fi
        [ -z "$own_policy" ] || rm -f "$policy"
    else
        say "WARNING: not installed:$missing (that takes root and apt-get). TESTS THAT NEED THEM WILL BE SKIPPED."
    fi
fi

if have node && have npm; then
    say "installing the npm packages of $folder"
    (cd "$folder" && npm ci --silent --no-progress) >&2 ||
        say "WARNING: npm could not install the packages of $folder. TESTS THAT NEED THEM WILL BE SKIPPED."
fi

touch "$venv/.peers"
