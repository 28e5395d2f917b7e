#!/bin/sh
# submit.sh RULE THREADS MEGABYTES MINUTES GPUS JOBSCRIPT: submits, and prints the number of the job alone.
set -eu
rule=$1 threads=$2 megabytes=$3 minutes=$4 gpus=$5 script=$6
mkdir -p logs/cluster
if command -v bsub > /dev/null; then # LSF
  set -- -J "$rule" -n "$threads" -R "span[hosts=1] rusage[mem=${megabytes}MB]" -M "${megabytes}MB" -W "$minutes"
  if [ "$gpus" -gt 0 ]; then set -- "$@" -gpu "num=$gpus"; fi
  bsub "$@" -o "logs/cluster/%J.log" "$script" | sed -n 's/^Job <\([0-9]*\)>.*/\1/p'
else # SGE: memory is that of a slot; the parallel environment is your site's
  set -- -N "$rule" -pe "${NEUROENC_PE:-smp}" "$threads" -l "h_vmem=$(((megabytes + threads - 1) / threads))M"
  if [ "$gpus" -gt 0 ]; then set -- "$@" -l "gpu=$gpus"; fi
  qsub -terse -cwd -V -j y -o logs/cluster/ -l "h_rt=$((minutes * 60))" "$@" "$script"
fi
