#!/bin/sh
# Print the state of a PBS job as Snakemake expects it: running, success or failed.
job=$(qstat -x -f "$1") || { echo running; exit; } # the server does not answer at the moment
value() { printf '%s\n' "$job" | sed -n "s/^ *$1 = //p"; }
case $(value job_state) in
  F | C | X) [ "$(value Exit_status)" = 0 ] && echo success || echo failed ;;
  *) echo running ;;
esac
