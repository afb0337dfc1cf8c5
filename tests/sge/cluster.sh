#!/usr/bin/env bash
# Runs a real Grid Engine of one node on this machine for as long as standard input stays open:
#
#   cluster.sh FOLDER    then PATH=FOLDER/bin:$PATH qsub, qstat, qacct, ...; sge_qmaster, after qconf -km
#
# Prints "ready" when jobs can be submitted. Needs root. Nothing is installed: Debian's packages are
# unpacked in FOLDER and laid over /usr in namespaces of their own, where all programs and jobs run.
# So the daemons, which listen on all addresses, can be reached from nowhere else.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

if [[ ${2-} != inside ]]; then
  mkdir -p "$1"/{packages,bin,root/default/common,spool/{db,master,node}}
  cd "$1"
  packages=(gridengine-{common,master,exec,client} lib{jemalloc2,hwloc15,munge2,tirpc3})
  download() { (cd packages && apt-get download -q "${packages[@]}"); }
  { download || { apt-get update -q && download; }; } >apt.log 2>&1 || { tail apt.log; exit 1; }
  for package in packages/*.deb; do dpkg-deb -x "$package" packages; done
  for program in qsub qstat qdel qacct qconf qmod sge_qmaster; do
    cat >bin/$program <<END
#!/bin/sh
exec nsenter --target $$ --net --uts --mount --pid=/proc/$$/ns/pid_for_children \\
  env -C "\$PWD" SGE_ROOT="$PWD/root" SGE_QMASTER_PORT=6444 SGE_EXECD_PORT=6445 \\
  /usr/lib/gridengine/$program "\$@"
END
    chmod +x bin/$program
  done
  exec unshare --net --uts --mount --pid --fork --kill-child --mount-proc \
    "$(realpath "$0")" "$PWD" inside
fi

cd "$1"
hostname node
ip link set lo up
echo 127.0.0.1 node localhost >hosts
mount --bind hosts /etc/hosts
mount -t overlay packages -o lowerdir=packages/usr:/usr /usr
export SGE_ROOT=$PWD/root SGE_QMASTER_PORT=6444 SGE_EXECD_PORT=6445
programs=/usr/lib/gridengine share=/usr/share/gridengine

# What the packages do when they are installed, but with other folders, and root is a user.
cat >root/default/common/bootstrap <<END
admin_user        none
default_domain    none
ignore_fqdn       true
spooling_method   berkeleydb
spooling_lib      libspoolb
spooling_params   $PWD/spool/db
binary_path       $programs
qmaster_spool_dir $PWD/spool/master
security_mode     none
listener_threads  2
worker_threads    2
scheduler_threads 1
END
echo node >root/default/common/act_qmaster
ln -s $share/util root/util
sed "s|^execd_spool_dir .*|execd_spool_dir $PWD/spool/node|; s|^min_\(.\)id .*|min_\1id 0|
  s|^mailer .*|mailer /bin/true|; s|^load_report_time .*|load_report_time 00:00:02|" \
  $share/default-configuration >configuration
cp -r $share/util/resources/centry complexes
sed -i 's|^consumable .*|consumable YES|' complexes/h_vmem
start() {
  $programs/spoolinit berkeleydb libspoolb "$PWD/spool/db" init
  $programs/spooldefaults configuration configuration
  $programs/spooldefaults complexes complexes
  $programs/spooldefaults usersets $share/util/resources/usersets
  $programs/spooldefaults managers root
  sge_qmaster
  wait_for qconf -ah node
  qconf -as node
  sge_execd
  wait_for qconf -se node
  qconf -mattr exechost complex_values h_vmem=16G node
  qconf -Ap $share/util/resources/pe/smp
  qconf -sq | sed "s/^qname .*/qname batch/; s/^hostlist .*/hostlist node/; s/^slots .*/slots 16/
    s/^pe_list .*/pe_list smp/; s/^load_thresholds .*/load_thresholds NONE/" >queue
  qconf -Aq queue
  qconf -ssconf | sed "s/^\(flush_.*_sec\) .*/\1 1/
    s/^schedule_interval .*/schedule_interval 0:0:2/" >scheduler
  qconf -Msconf scheduler
}
wait_for() {
  for _ in {1..300}; do
    "$@" && return
    sleep 0.1
  done
  return 1
}
start >start.log 2>&1 || { tail start.log; exit 1; }

echo ready
cat >/dev/null
