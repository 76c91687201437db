#!/bin/sh
# Runs the probe as in the strictest pod: the root file system is read-only, the user has no name, and only /tmp and the
# termination log are writable. It must run as root and in its own mount namespace:
#     unshare --mount --propagation private confine.sh ...
# Arguments: an empty directory, the interpreter's home, the zip application, the stand-in torch, the command.
set -eu
root=$1 home=$2 archive=$3 torch=$4
shift 4
mount --rbind / "$root"
mount -t tmpfs -o mode=755 image "$root/mnt"
mkdir "$root/mnt/python" "$root/mnt/torch"
mount --bind "$home" "$root/mnt/python"
mount --bind "$torch" "$root/mnt/torch"
cp "$archive" "$root/mnt/gpuenv-probe.pyz"
mount -t tmpfs -o mode=755 log "$root/srv"
touch "$root/srv/termination-log"
chmod 666 "$root/srv/termination-log"
mount -t tmpfs -o mode=1777 scratch "$root/tmp"
mount -o remount,bind,ro "$root/mnt"
mount -o remount,bind,ro "$root/dev/shm"
mount -o remount,bind,ro "$root"
code=0
chroot --userspec=54321:54321 "$root" /usr/bin/env -i PATH=/usr/bin:/bin PYTHONPATH=/mnt/torch LD_LIBRARY_PATH=/mnt/python/lib \
    GPUENV_TERMINATION_LOG=/srv/termination-log "$@" >&2 || code=$?
cat "$root/srv/termination-log"
exit $code
