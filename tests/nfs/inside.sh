#!/bin/sh
# Runs in the virtual machine, see run: starts a file server, and two hosts A and B that mount its
# folder /srv/x. Each host is a network namespace, so it is an NFS client with its own cache.
exec >/dev/virtio-ports/out 2>&1
set -e
trap 'poweroff -f >/dev/null 2>&1' EXIT

cp -r /checkout/workflow /checkout/tests/nfs /root
mkdir -p /srv/x /srv/small

ip link set lo up
ip link add br0 type bridge
ip addr add 10.9.0.1/24 dev br0
ip link set br0 up
for host in A:2 B:3; do
  name=${host%:*}
  ip netns add "$name"
  ip link add "to$name" type veth peer name eth0 netns "$name"
  ip link set "to$name" master br0 up
  ip -n "$name" addr add "10.9.0.${host#*:}/24" dev eth0
  ip -n "$name" link set lo up
  ip -n "$name" link set eth0 up
done

# After a restart, the server waits 10 s, instead of 90 s, for its clients to reclaim their locks.
printf '[nfsd]\nthreads=8\ngrace-time=10\nlease-time=10\n' >/etc/nfs.conf.d/checks.conf
truncate -s 96M /srv/small.img
mke2fs -q -t ext4 -m 0 /srv/small.img
mount -o loop /srv/small.img /srv/small
cat >/etc/exports <<'END'
/srv/x *(rw,no_root_squash,no_subtree_check,insecure,fsid=1)
/srv/small *(rw,no_root_squash,no_subtree_check,insecure,fsid=2)
END
systemctl restart rpcbind rpc-statd nfs-server

mounted() { # HOST VERSION OPTIONS WHAT MOUNTPOINT
  mkdir -p "$5"
  nsenter --net="/run/netns/$1" unshare -u \
    sh -c "hostname host$1; mount -t nfs -o vers=$2,nosharecache,$3 10.9.0.1:$4 $5"
}
for host in A B; do
  mounted $host 3 nolock /srv/x /mnt/v3/$host
  mounted $host 4.2 hard /srv/x /mnt/v4.2/$host
done
for version in 3,nolock 4.2; do
  mounted A $version hard /srv/small "/mnt/v${version%,*}/small"
  mounted A $version soft,timeo=20,retrans=1 /srv/x "/mnt/v${version%,*}/soft"
done
# NFSv3 locks belong to a separate service, which exists once per machine. So for the check of locks
# with NFSv3, both mounts belong to one host.
for host in A B; do
  mkdir -p /mnt/v3/lock$host
  mount -t nfs -o vers=3,nosharecache 10.9.0.1:/srv/x /mnt/v3/lock$host
done

PYTHONPATH=/root/workflow python3 /root/nfs/checks.py
