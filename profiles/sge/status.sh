#!/bin/sh
# Print the state of a job of Grid Engine as Snakemake expects it: running, success or failed.
# Why it failed goes to the end of its log, from where the last lines of the run take it.
logs=.snakemake/sge_logs
log=$logs/$1.log away=$logs/away gone=$logs/gone-$1
say() {
  echo "$1"
  exit
}
fail() {
  echo "Error: Grid Engine's job $1" >>"$log"
  say failed
}
once() {
  [ -e "$1" ] || echo "$2" >&2
  touch "$1"
}

# While the master is away, one job a minute asks for it, so that 100 jobs do not wait in a row.
[ "$(find "$away" -mmin -1 2>/dev/null)" ] && say running
said=$(timeout 20 qstat -j "$1" 2>&1)
case $?$said in
  0*)
    rm -f "$away"
    why=$(printf '%s\n' "$said" | sed -n 's/^error reason *[0-9]*: *//p' | tail -n 1)
    if [ "$why" ]; then
      qdel "$1" >/dev/null 2>&1 # nothing else ends the state Eqw
      fail "$1 could not start: $why"
    fi
    case $said in
      *"is in hold state"*) once "$logs/held-$1" "Grid Engine's job $1 is held. To release it: qrls $1" ;;
    esac
    say running
    ;;
  *"do not exist"*) rm -f "$away" ;;
  *)
    once "$away" "Grid Engine does not answer. The run waits until it does. Ctrl-C ends it."
    say running
    ;;
esac

# The job is over. The accounting lags behind, and has no record of one deleted in the queue.
grep -qs '^[0-9]* of [0-9]* steps (100%) done' "$log" && say success
facts=$(timeout 20 qacct -j "$1" 2>/dev/null |
  sed -nE '/^(failed|exit_status|ru_wallclock|maxvmem|category) /{s/  +/ /g;s/ $//;p;}' |
  tail -n 5 | paste -s -d ';' - | sed 's/;/; /g')
case $facts in
  "failed 0; exit_status 0; "*) say success ;;
  failed*) fail "$1 has failed: $facts" ;;
esac
[ -e "$gone" ] || date +%s >"$gone"
[ $(($(date +%s) - $(cat "$gone"))) -gt 60 ] || say running
fail "$1 is not known any more. Perhaps somebody deleted it in the queue."
