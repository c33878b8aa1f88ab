# Sourced by every recipe and by tests/run.sh: where things are, and the Python that has the packages.
#
# The Python is the first of $PYTHON, an active environment, .venv that has them; else .venv is made, once, from requirements.txt.
# The array $needs, set before sourcing, names further requirement files.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
local="$ROOT/local" steps="$ROOT/steps" utils="$ROOT/utils"
export LC_ALL=C PYTHONUNBUFFERED=1

find_python() {
  local need=("$ROOT/requirements.txt" ${needs[@]+"${needs[@]}"}) python newest
  for python in "${PYTHON:-}" "${VIRTUAL_ENV:+$VIRTUAL_ENV/bin/python3}" "${CONDA_PREFIX:+$CONDA_PREFIX/bin/python3}"; do
    [ -n "$python" ] || continue
    if ! command -v "$python" > /dev/null; then
      [ "$python" = "${PYTHON:-}" ] || continue
      echo "path.sh: PYTHON=$PYTHON: no such program; name a Python 3.11 or newer, or unset PYTHON" >&2
      return 1
    fi
    if "$python" "$ROOT/utils/check_python.py" "${need[@]}"; then
      PYTHON="$python"
      return
    elif [ $? -ne 3 ] || [ "$python" = "${PYTHON:-}" ]; then  # 3: packages are missing, another Python may have them
      return 1
    fi
  done
  for newest in python3 python3.14 python3.13 python3.12 python3.11; do
    if command -v "$newest" > /dev/null && "$newest" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' 2> /dev/null; then
      "$newest" "$ROOT/utils/make_venv.py" "$ROOT/.venv" "${need[@]}" || return 1
      PYTHON="$ROOT/.venv/bin/python3"
      return
    fi
  done
  echo "path.sh: no Python of version 3.11 to 3.14 found; install one, or name it: PYTHON=/path/to/python3" >&2
  return 1
}

if ! find_python; then
  unset -f find_python
  return 1 2> /dev/null || exit 1
fi
unset -f find_python
PYTHON="$("$PYTHON" -c 'import sys; print(sys.executable)')"
if ! [ "$(dirname "$PYTHON")/python3" -ef "$PYTHON" ]; then
  echo "path.sh: beside $PYTHON lies another python3, or none; make an environment of it: $PYTHON -m venv --system-site-packages my, then PYTHON=my/bin/python3" >&2
  return 1 2> /dev/null || exit 1
fi
PATH="$(dirname "$PYTHON"):$PATH"
export PYTHON PATH
