#!/usr/bin/env bash
# All benchmarks, one after the other: each prints figures and ratios measured in its own run. A few minutes on an idle machine, 2 GB of temporary files.
# e.g. tests/bench/run.sh            or one by itself: tests/bench/bench_crops.py --help
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

needs=("$here/../requirements.txt")  # read by path.sh
. "$here/../../path.sh"

for bench in "$here"/bench_*.py; do
  echo "== $(basename "$bench")"
  python3 "$bench"
done
