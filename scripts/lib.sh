# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# lib.sh - what the scripts share: where they are, how they talk, how they get packages. To be sourced.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say()
{
    printf '%s\n' "$*"
}

die()
{
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The words that dpkg does not know as installed.
missing_packages()
{
    local package
    for package in "$@"; do
        dpkg-query -W -f='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

# as_root COMMAND...: as it is when we are root, else by sudo, else told.
as_root()
{
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        die "this has to be run as root: $*"
    fi
}

# Servers among the packages are to be installed, not started: as policy-rc.d says while it is there.
apt_install()
{
    local policy=/usr/sbin/policy-rc.d mine=0 status=0
    if [ ! -e $policy ]; then
        mine=1
        printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
        as_root chmod +x $policy
    fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" || status=$?
    [ $mine = 0 ] || as_root rm -f $policy
    return $status
}

# install_packages WHAT PACKAGE...: nothing but a look at dpkg when all are there. Package lists are fetched only when
# they are missing or too old to install from.
install_packages()
{
    local what=$1 log missing
    shift
    mapfile -t missing < <(missing_packages "$@")
    if [ ${#missing[@]} = 0 ]; then
        say "$what: all $# packages are there"
        return 0
    fi
    log=$(mktemp)
    say "$what: installing ${missing[*]}"
    if ! apt_install "${missing[@]}" >"$log" 2>&1; then
        say "$what: fetching the package lists first"
        as_root apt-get update -q >"$log" 2>&1 || { tail -20 "$log"; rm -f "$log"; die "apt-get update failed"; }
        apt_install "${missing[@]}" >"$log" 2>&1 || { tail -20 "$log"; rm -f "$log"; die "apt-get install failed"; }
    fi
    rm -f "$log"
}

# The lines of a file that are no comments.
package_list()
{
    sed -e 's/#.*//' "$ROOT/scripts/packages/$1" | tr -s ' \n' '\n' | sed '/^$/d'
}
