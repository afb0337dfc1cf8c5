#!/bin/sh
# Print the state of a PBS job as Snakemake expects it: running, success or failed.
# Why it failed goes to the end of its log, from where the last lines of the run take it.
logs=.snakemake/pbs_logs
log=$logs/$1.OU away=$logs/away gone=$logs/gone-$1
say() {
  echo "$1"
  exit
}
fail() {
  echo "Error: PBS job $1" >>"$log"
  say failed
}
once() {
  [ -e "$1" ] || echo "$2" >&2
  touch "$1"
}
# Long lines are wrapped.
ask() { said=$(timeout 20 qstat "$@" 2>&1 | sed -e :a -e '$!N;s/\n\t//;ta' -e 'P;D'); }
value() { printf '%s\n' "$said" | sed -n "s/^ *$1 = //p"; }

# While the server is away, one job a minute asks for it, so that 100 jobs do not wait in a row.
[ "$(find "$away" -mmin -1 2>/dev/null)" ] && say running
ask -x -f "$1"
# Without job_history_enable, PBS's default, this ends with 0 and says nothing of any job.
[ "$(value job_state)" ] || ask -f "$1"
case $said in
  *"job_state = "* | *"Unknown Job"*) rm -f "$away" ;;
  *)
    once "$away" "PBS does not answer. The run waits until it does. Ctrl-C ends it."
    say running
    ;;
esac
case $(value job_state)$(value comment) in
  [FCX]*)
    [ "$(value Exit_status)" = 0 ] && say success
    fail "$1 has failed: $(printf '%s\n' "$said" |
      sed -nE 's/^ *((Exit_status|comment|Resource_List\.|resources_used\.(mem|walltime)).* = )/\1/p' |
      paste -s -d ';' - | sed 's/;/; /g')"
    ;;
  *"Can Never Run"*)
    qdel "$1" >/dev/null 2>&1
    fail "$1 would wait forever: $(value comment)"
    ;;
  H*) once "$logs/held-$1" "PBS job $1 is held ($(value comment)). To release it: qrls $1" ;;
esac
[ "$(value job_state)" ] && say running

# PBS has forgotten the job, so it is over. A log that another host wrote may be seen late.
grep -qs '^[0-9]* of [0-9]* steps (100%) done' "$log" && say success
[ -s "$log" ] && fail "$1 has failed. PBS keeps no history of jobs that says how."
[ -e "$gone" ] || date +%s >"$gone"
[ $(($(date +%s) - $(cat "$gone"))) -gt 60 ] || say running
fail "$1 is not known any more, and has no log. Perhaps somebody deleted it in the queue."
