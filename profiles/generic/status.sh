#!/bin/sh
# status.sh JOB: prints running, success or failed.
if command -v bjobs > /dev/null; then # LSF
  case $(bjobs -noheader -o stat "$1" 2> /dev/null) in
  DONE) echo success ;;
  EXIT | ZOMBI) echo failed ;;
  *) echo running ;; # also while LSF does not answer
  esac
elif qstat -j "$1" > /dev/null 2>&1; then # SGE
  echo running
elif ended=$(qacct -j "$1" 2> /dev/null); then
  if echo "$ended" | grep -Eq '^exit_status +0 *$' && echo "$ended" | grep -Eq '^failed +0'; then
    echo success
  else
    echo failed
  fi
else
  echo running # ended a moment ago: its accounts are still to be written
fi
