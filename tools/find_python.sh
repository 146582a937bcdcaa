#!/bin/sh
# Prints the path of a Python that can make the environment: 3.10 to 3.13 with venv and pip.
# Every candidate is run, because a name on the PATH may be a shim that starts nothing.
# PYTHON=... is then the only candidate.

probe='
import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 13):
    sys.exit("is Python %d.%d" % sys.version_info[:2])
try:
    import ensurepip, venv
except ImportError as error:
    sys.exit("lacks the module %s (Debian: apt-get install python3-venv)" % error.name)
print(sys.executable)
'

reasons=""
for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.10 python}; do
    if ! command -v "$candidate" >/dev/null 2>&1; then
        reasons="$reasons  $candidate: not found
"
        continue
    fi
    if answer=$("$candidate" -c "$probe" 2>&1) && [ -n "$answer" ]; then
        printf '%s\n' "$answer"
        exit 0
    fi
    reason=$(printf '%s' "$answer" | head -n 1)
    reasons="$reasons  $candidate: ${reason:-does not run}
"
done

printf 'No suitable Python. Needed is 3.10, 3.11, 3.12 or 3.13 with venv. Tried:\n%s' "$reasons" >&2
printf 'Install one of them or name it: make venv PYTHON=/path/to/python3\n' >&2
exit 1
