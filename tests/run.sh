#!/usr/bin/env bash
# All tests: the quick ones in less than ten minutes on two cores; --all: long recipes and services too, as CI runs them.
# Real corpora are looked for in $CORPORA (default: ../shared/data beside the project); tests that need them are skipped without.
# e.g. tests/run.sh -k resume     further words are handed to pytest
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

needs=("$here/requirements.txt")  # read by path.sh
. "$here/../path.sh"

select=(-m "not long")
if [ "${1:-}" = --all ]; then
  select=()
  shift
fi
cd "$ROOT"
exec python3 -m pytest ${select[@]+"${select[@]}"} -n 2 --dist loadfile "$@"
