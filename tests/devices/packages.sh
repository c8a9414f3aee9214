#!/bin/sh
# Debian's packages that the tests of devices run real parts of: an SSH server, qemu, adb, browsers.
# Installs what is missing, in one go; the tests run side by side, and apt-get does not.
set -eu

packages="openssh-server openssh-client debootstrap debian-archive-keyring qemu-user-static binfmt-support
    qemu-system-arm ipxe-qemu adb iproute2 procps chromium webkit2gtk-driver xvfb dbus-x11"
command -v npm >/dev/null || packages="$packages npm"

missing=
for package in $packages; do
    case $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) in
        *" installed") ;;
        *) missing="$missing $package" ;;
    esac
done
[ -z "$missing" ] && exit 0

[ "$(id -u)" = 0 ] || { echo "$0: run as root, or install:$missing" >&2; exit 1; }
apt-get update -qq
# shellcheck disable=SC2086 # a list
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
