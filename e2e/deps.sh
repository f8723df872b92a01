#!/usr/bin/env bash
# Installs what the tests need and this machine lacks, without asking anything.
# deps.sh        everything for `make test`
# deps.sh bench  only what `make bench` needs
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# program=package, where the program tells whether the package is needed.
test_tools=(cc=gcc "c++=g++" nginx=nginx-light wget=wget curl=curl openssl=openssl chromium=chromium prometheus=prometheus
  promtool=prometheus shellcheck=shellcheck wrk=wrk git=git node=nodejs npm=npm
  h2load=nghttp2-client strace=strace valgrind=valgrind)
bench_tools=(nginx=nginx-light haproxy=haproxy wrk=wrk h2load=nghttp2-client openssl=openssl taskset=util-linux
  strace=strace valgrind=valgrind slowhttptest=slowhttptest testssl=testssl.sh cmake=cmake pkg-config=pkg-config)

case "${1:-test}" in
  bench) tools=("${bench_tools[@]}") ;;
  test) tools=("${test_tools[@]}") ;;
  *) echo "usage: deps.sh [bench]" >&2; exit 2 ;;
esac

sudo=()
if [ "$(id -u)" != 0 ]; then sudo=(sudo -n); fi

install_packages() {
  # Runlevel 1 keeps Debian's scripts from starting the daemons that come along: the tests start their own.
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

missing=()
for tool in "${tools[@]}"; do
  # Daemons live in sbin, which is not in everybody's path.
  PATH="$PATH:/usr/sbin:/sbin" command -v "${tool%%=*}" >/dev/null || missing+=("${tool#*=}")
done
if [ "${1:-test}" = bench ] && [ ! -e /usr/include/openssl/ssl.h ]; then missing+=(libssl-dev); fi
if [ "${#missing[@]}" -gt 0 ]; then
  echo "installing: ${missing[*]}"
  "${sudo[@]}" apt-get update -qq
  install_packages "${missing[@]}"
fi
if [ "${1:-test}" = bench ]; then exit 0; fi

wanted=e2e/acceptance/requirements.txt
if ! cmp -s "$wanted" .venv/installed.txt; then
  echo "preparing .venv"
  if ! python3 -m venv --clear .venv 2>/dev/null; then
    install_packages python3-venv
    python3 -m venv --clear .venv
  fi
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r "$wanted"
  cp "$wanted" .venv/installed.txt
fi

wanted=e2e/node/package-lock.json
if ! cmp -s "$wanted" e2e/node/node_modules/installed.json; then
  echo "preparing e2e/node"
  # Nothing of what comes along has anything to run on this machine before a test runs it.
  npm ci --prefix e2e/node --ignore-scripts --no-audit --no-fund --loglevel=error
  cp "$wanted" e2e/node/node_modules/installed.json
fi
