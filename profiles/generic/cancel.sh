#!/bin/sh
# cancel.sh JOB...: ends jobs.
if command -v bkill > /dev/null; then bkill "$@"; else qdel "$@"; fi
