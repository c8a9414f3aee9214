#!/bin/sh
# An arm64 Debian root with Python, NumPy, ONNX Runtime, LiteRT and an OpenSSH server, made once and kept:
#
#   tests/devices/arm64/build_root.sh [FOLDER]        default: ~/.cache/tdedge-tests/arm64
#
#   FOLDER/root         the root; Python at /opt/tdedge/bin/python; its fake /sys are files of the root itself
#   FOLDER/key          a key (and key.pub) that root's authorized_keys accepts
#   FOLDER/known_hosts  the host key of the root, for "*"
#
# Packages are unpacked and not configured: no maintainer script runs, which emulated would take minutes.
# What their scripts would have made and a server needs is made below. Needs root. Idempotent: the folder
# "root" appears whole or not at all. The same call makes this machine run arm64 programs (binfmt_misc).
set -eu

folder=${1:-$HOME/.cache/tdedge-tests/arm64}
version=3 # of this recipe; a root of another version is made anew
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
suite=bookworm
packages=python3,openssh-server,openssh-sftp-server,procps,iproute2,kmod,util-linux
wheels="numpy onnxruntime ai-edge-litert"
pip=${PIP:-python3 -m pip}

[ "$(id -u)" = 0 ] || { echo "$0: needs root, for debootstrap and chroot" >&2; exit 1; }

install_tools() {
    for tool in debootstrap qemu-aarch64-static update-binfmts ssh-keygen; do
        command -v "$tool" >/dev/null || missing=yes
    done
    [ -z "${missing-}" ] && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        debootstrap debian-archive-keyring qemu-user-static binfmt-support openssh-client >/dev/null
}

run_arm64() { # makes the kernel run arm64 programs through qemu, also in a chroot
    [ -e /proc/sys/fs/binfmt_misc/register ] || mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
    [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || update-binfmts --enable qemu-aarch64
}

unpack() { # every package of a minimal system with the ones above, into $1
    debootstrap --arch=arm64 --variant=minbase --include="$packages" --download-only "$suite" "$1" >/dev/null
    for name in bin sbin lib; do
        mkdir -p "$1/usr/$name" && ln -sfn "usr/$name" "$1/$name"
    done
    for package in "$1"/var/cache/apt/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$package" | tar -x -C "$1" --keep-directory-symlink \
            --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*'
    done
    rm -rf "$1/var/cache/apt/archives" "$1/var/lib/apt/lists"
    mkdir -p "$1/var/cache/apt/archives" "$1/var/lib/apt/lists"
}

settle() { # what the maintainer scripts would have made, of what is needed here
    cp "$1/usr/share/base-passwd/passwd.master" "$1/etc/passwd"
    cp "$1/usr/share/base-passwd/group.master" "$1/etc/group"
    sed -i 's#^root:[^:]*:0:0:root:/root:.*#root:x:0:0:root:/root:/bin/bash#' "$1/etc/passwd"
    echo 'sshd:x:105:65534::/run/sshd:/usr/sbin/nologin' >>"$1/etc/passwd"
    cut -d: -f1 "$1/etc/passwd" | sed 's/$/:*:20000:0:99999:7:::/' >"$1/etc/shadow"
    chmod 640 "$1/etc/shadow"
    echo pi-like >"$1/etc/hostname"
    printf '127.0.0.1 localhost pi-like\n' >"$1/etc/hosts"
    mkdir -p "$1/run/sshd" "$1/etc/ssh" "$1/root/.ssh" "$1/dev" "$1/proc" "$1/tmp"
    chmod 1777 "$1/tmp"
    ln -sf mawk "$1/usr/bin/awk"
    for device in 'null 1 3' 'zero 1 5' 'full 1 7' 'random 1 8' 'urandom 1 9' 'tty 5 0'; do
        # shellcheck disable=SC2086 # three words are meant
        set -- "$1" $device
        [ -e "$1/dev/$2" ] || mknod -m 666 "$1/dev/$2" c "$3" "$4"
    done
    mkdir -p "$1/sys/devices/system/cpu" # without these two ONNX Runtime and LiteRT complain; see the tests
    echo 0-1 >"$1/sys/devices/system/cpu/possible"
    echo 0-1 >"$1/sys/devices/system/cpu/present"
    chroot "$1" /sbin/ldconfig
}

install_python() {
    mkdir -p "$1/opt/tdedge/bin" "$1/opt/tdedge/lib/python3.11/site-packages"
    ln -sfn /usr/bin/python3 "$1/opt/tdedge/bin/python3"
    ln -sfn python3 "$1/opt/tdedge/bin/python"
    printf 'home = /usr/bin\ninclude-system-site-packages = false\nversion = 3.11.2\n' >"$1/opt/tdedge/pyvenv.cfg"
    # shellcheck disable=SC2086 # several words are meant
    $pip install --quiet --no-compile --only-binary :all: --implementation cp --python-version 3.11 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
        --platform manylinux2014_aarch64 --constraint "$here/../../../constraints.txt" \
        --target "$1/opt/tdedge/lib/python3.11/site-packages" $wheels
    chroot "$1" /opt/tdedge/bin/python -c 'import numpy'
}

let_in() {
    [ -e "$folder/key" ] || ssh-keygen -q -t ed25519 -N '' -C tdedge-tests -f "$folder/key"
    cp "$folder/key.pub" "$1/root/.ssh/authorized_keys"
    chmod 700 "$1/root" "$1/root/.ssh"
    chmod 600 "$1/root/.ssh/authorized_keys"
    rm -f "$1"/etc/ssh/ssh_host_*
    ssh-keygen -q -t ed25519 -N '' -C '' -f "$1/etc/ssh/ssh_host_ed25519_key"
    printf '* %s\n' "$(cat "$1/etc/ssh/ssh_host_ed25519_key.pub")" >"$folder/known_hosts"
    cat >"$1/etc/ssh/sshd_config" <<END
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
PermitRootLogin prohibit-password
PasswordAuthentication no
UseDNS no
Subsystem sftp internal-sftp
END
}

mkdir -p "$folder"
exec 9>"$folder/lock"
flock 9
install_tools
run_arm64
if [ "$(cat "$folder/root/etc/tdedge-root" 2>/dev/null)" != "$version" ]; then
    new="$folder/new"
    rm -rf "$new"
    unpack "$new"
    settle "$new"
    install_python "$new"
    let_in "$new"
    echo "$version" >"$new/etc/tdedge-root"
    rm -rf "$folder/root"
    mv "$new" "$folder/root"
fi
