#!/bin/sh
# Makes or completes .venv; the options are those of tools/setup_env.py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
own="$here/../.venv/bin/python"
if [ -z "${PYTHON:-}" ] && "$own" -c '' >/dev/null 2>&1; then
    python=$own
else
    python=$("$here/find_python.sh")
fi
exec "$python" "$here/setup_env.py" "$@"
