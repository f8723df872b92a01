#!/usr/bin/env bash
# The checks that are not about Rust: shell scripts, YAML, Prometheus rules, Dockerfile, licences. A tool that is
# not installed is named and passed over; `make deps` installs those that CI insists on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Looks also where Debian keeps daemons and where `make deps` keeps Python tools.
PATH="$PWD/.venv/bin:$PATH:/usr/sbin:/sbin"
has() { command -v "$1" >/dev/null || { echo "not installed, not run: $1"; return 1; }; }

mapfile -t shell < <(git ls-files -co --exclude-standard '*.sh' .ci/run)
if has shellcheck; then shellcheck "${shell[@]}"; fi

mapfile -t yaml < <(git ls-files -co --exclude-standard '*.yml' '*.yaml')
if [ "${#yaml[@]}" -gt 0 ] && has yamllint; then
  yamllint -d '{extends: relaxed, rules: {line-length: disable}}' "${yaml[@]}"
fi

mapfile -t rules < <(git ls-files -co --exclude-standard 'deploy/prometheus/*.yml' | grep -Ev '/prometheus\.yml$' || true)
if [ "${#rules[@]}" -gt 0 ] && has promtool; then promtool check rules "${rules[@]}"; fi

for json in $(git ls-files -co --exclude-standard 'deploy/*.json'); do
  python3 -m json.tool "$json" >/dev/null
done

if [ -f deploy/docker/Dockerfile ] && has hadolint; then hadolint deploy/docker/Dockerfile; fi
if [ -f deny.toml ] && has cargo-deny; then cargo deny --offline check bans licenses sources; fi
echo "scripts, YAML and rules: fine"
