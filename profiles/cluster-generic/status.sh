#!/bin/sh
# What became of a PBS job, in the words of Snakemake: running, success or failed.
job=$(qstat -x -f "$1") || { echo running; exit; } # the server is away for a while
value() { printf '%s\n' "$job" | sed -n "s/^ *$1 = //p"; }
case $(value job_state) in
  F | C | X) [ "$(value Exit_status)" = 0 ] && echo success || echo failed ;;
  *) echo running ;;
esac
