#!/bin/bash
#
# Faults that only root can cause: power cuts, full disks, failing system calls, files that may not
# be written. Each test writes until something gives way, starts the server again, and asks for all
# that was acknowledged.
#
#   sudo crates/kv-server/tests/faults_privileged.sh target/debug/kv-server [test ...]
#
# Needs Linux and the Debian packages bash, coreutils, e2fsprogs, mount, perl-base, procps, strace
# and util-linux. Everything is mounted in a mount namespace of its own and is gone afterwards.

set -euo pipefail

if [ "$(id -u)" -ne 0 ] || [ $# -lt 1 ]; then
    sed -n '3,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
if [ -z "${KV_FAULTS_UNSHARED:-}" ]; then
    KV_FAULTS_UNSHARED=1 exec unshare --mount --propagation private "$0" "$@"
fi

# The shell tells of every process that was killed, which is what happens here all the time.
exec 2> >(grep --line-buffered -v ' Killed  ' >&2)

program=$(realpath "$1")
shift
work=$(mktemp -d)
server=
trap 'cleanup' EXIT

cleanup() {
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
    umount -q "$work"/disk 2>/dev/null || true
    chattr -R -i -a "$work" 2>/dev/null || true
    rm -rf "$work"
}

fail() {
    echo "FAILED: $*" >&2
    echo "the server's messages:" >&2
    tail -n 20 "$work/messages" >&2 || true
    exit 1
}

# start directory [command that runs the server ...]: sets $server, and $address when it listens.
start() {
    local directory=$1
    shift
    : > "$work/messages"
    "$@" "$program" --listen 127.0.0.1:0 --data-dir "$directory" \
        --checkpoint-interval 200ms 2>> "$work/messages" &
    server=$!
    address=
    local tries
    for tries in $(seq 200); do
        address=$(sed -n 's/^listening on \(127[^ ]*\) (lines)$/\1/p' "$work/messages")
        [ -z "$address" ] || return 0
        kill -0 "$server" 2>/dev/null || return 0
        sleep 0.05
    done
    fail "it neither listens nor ends"
}

must_start() {
    start "$@"
    [ -n "$address" ] || fail "it does not start"
    connect
}

# A start that has to end by itself; sets $code.
refused() {
    start "$@"
    [ -z "$address" ] || fail "it starts"
    wait_for_end
}

wait_for_end() {
    code=0
    # The shell would tell of every kill.
    { wait "$server" || code=$?; } 2>/dev/null
    server=
}

stop() {
    kill -9 "$server" 2>/dev/null || true
    wait_for_end
    exec 3>&- || true
}

connect() {
    exec 3<> "/dev/tcp/${address%:*}/${address#*:}"
}

# Sets $reply, to nothing when the connection has ended or nothing comes.
ask() {
    reply=
    printf '%s\n' "$1" >&3 2>/dev/null || return 0
    IFS= read -r -t "${2:-20}" reply <&3 || true
}

must_answer() {
    ask "$1"
    [ "$reply" = "$2" ] || fail "$1 is answered $reply, not $2"
}

# Commits k1, k2 ... after those that there are, until one is not acknowledged or so many are; sets
# $acknowledged. Every tenth commit is a transaction over two keys.
acknowledged=0
write_some() {
    local until=$((acknowledged + $1)) next
    reply=OK
    while [ "$acknowledged" -lt "$until" ]; do
        next=$((acknowledged + 1))
        if [ $((next % 10)) -eq 0 ]; then
            ask BEGIN
            ask "PUT k$next $next"
            ask "PUT pair$next $next"
            ask COMMIT
        else
            ask "PUT k$next $next"
        fi
        [ "$reply" = OK ] || return 0
        acknowledged=$next
    done
}

# Everything acknowledged is there, and of a transaction all or nothing.
check_all() {
    must_answer CHECK OK
    local n
    for n in $(seq "$acknowledged"); do printf 'GET k%d\n' "$n"; done >&3 &
    for n in $(seq "$acknowledged"); do
        IFS= read -r -t 20 reply <&3 || fail "no reply to GET k$n"
        [ "$reply" = "\"$n\"" ] || fail "k$n was acknowledged and is $reply"
    done
    for n in $(seq 10 10 $((acknowledged + 10))); do
        ask "EXISTS k$n"
        local first=$reply
        ask "EXISTS pair$n"
        [ "$reply" = "$first" ] || fail "half of transaction $n is there"
    done
    # What was not acknowledged may be there; it is not counted on from here.
    must_answer 'PUT after 1' OK
}

# What a start of the directory finds is all that was acknowledged.
must_hold() {
    must_start "$1"
    check_all
    stop
}

begin() {
    acknowledged=0
    echo "$1"
}

data() {
    rm -rf "$work/data"
    echo "$work/data"
}

segment() {
    ls "$1"/log/*.log | tail -n 1
}

# An ext4 file system of its own in a file: disk megabytes.
disk() {
    umount -q "$work/disk" 2>/dev/null || true
    mkdir -p "$work/disk"
    rm -f "$work/image"
    truncate -s "$1M" "$work/image"
    mkfs.ext4 -q -O ^has_journal "$work/image" 2>/dev/null || true
    mkfs.ext4 -q -F "$work/image"
    mount -o loop "$work/image" "$work/disk"
}

# Memory that is a disk of 24 MiB.
small_disk() {
    mkdir -p "$work/disk"
    mount -t tmpfs -o size=24m none "$work/disk"
}

fill_disk() {
    dd if=/dev/zero of="$work/disk/filler" bs=64k 2>/dev/null || true
}

# The file system stops as if the power were cut: what was not synced is lost (EXT4_IOC_SHUTDOWN
# without flushing its journal).
shut_down() {
    perl -e 'open(F, "<", $ARGV[0]) or die; my $how = pack("L", 2);
             ioctl(F, 0x8004587d, $how) or die "ioctl: $!"' "$work/disk"
}

power_on() {
    umount "$work/disk"
    mount -o loop "$work/image" "$work/disk"
}

test_power_cut() {
    begin "power cuts: nothing acknowledged is lost"
    disk 400
    local round
    for round in $(seq 8); do
        must_start "$work/disk/data"
        check_all
        ( sleep "0.$((RANDOM % 9 + 1))"; shut_down ) &
        write_some 100000
        wait %?shut_down 2>/dev/null || wait $! || true
        stop
        power_on
    done
    must_hold "$work/disk/data"
    umount "$work/disk"
}

# A tail that was read after a kill, before it was synced, must not vanish with the power.
test_power_cut_after_recovery() {
    begin "what a start shows survives a power cut at once after it"
    disk 400
    must_start "$work/disk/data"
    write_some 200
    stop
    must_start "$work/disk/data"
    check_all
    shut_down
    stop
    power_on
    must_hold "$work/disk/data"
    umount "$work/disk"
}

test_kill_at_nth_call() {
    begin "a kill at the n-th write or sync"
    local directory call nth
    directory=$(data)
    for call in pwrite64 fdatasync fsync rename,renameat,renameat2 unlink,unlinkat; do
        for nth in 1 2 3 5 9 17; do
            start "$directory" strace -D -f -qq -o /dev/null \
                -e "trace=$call" -e "inject=$call:signal=KILL:when=$nth"
            if [ -n "$address" ]; then
                connect
                write_some 60
            fi
            stop
        done
        must_hold "$directory"
    done
}

test_full_disk() {
    begin "a full disk refuses commits, serves reads, and takes commits when there is room"
    small_disk
    must_start "$work/disk/data"
    write_some 50
    fill_disk
    local value
    value=$(head -c 60000 /dev/zero | tr '\0' v)
    local n
    for n in $(seq 2000); do
        ask "PUT big$n $value"
        [ "$reply" = OK ] || break
    done
    case $reply in
        'ERR DISKFULL '*) ;;
        *) fail "a commit without room is answered $reply" ;;
    esac
    must_answer "GET big$n" NIL
    check_reads
    rm "$work/disk/filler"
    local tries
    for tries in $(seq 100); do
        ask 'PUT room 1'
        [ "$reply" != OK ] || break
        sleep 0.1
    done
    must_answer 'GET room' '"1"'
    check_all
    stop
    must_hold "$work/disk/data"
    umount "$work/disk"
}

check_reads() {
    must_answer CHECK OK
    must_answer 'GET k1' '"1"'
}

test_full_disk_and_crash() {
    begin "a full disk and a kill; a start without room changes nothing for the worse"
    small_disk
    local round
    for round in 1 2 3; do
        must_start "$work/disk/data"
        write_some 100
        fill_disk
        write_some 3000
        stop
        start "$work/disk/data"
        [ -z "$address" ] || { connect; check_reads; }
        stop
        rm "$work/disk/filler"
        must_hold "$work/disk/data"
    done
    umount "$work/disk"
}

# attach call what: system calls on the newest segment fail from now on.
attach() {
    strace -f -qq -o /dev/null -p "$server" -P "$(segment "$1")" \
        -e "trace=$2" -e "inject=$2:$3" &
    tracer=$!
    sleep 0.5
}

# The server gives up by itself after a system call that failed.
must_fail() {
    wait_for_end
    [ "$code" -eq 1 ] || fail "exit code $code, not 1"
    wait "$tracer" || true
}

test_failed_sync() {
    begin "a failed sync is never retried: OUTCOME, exit 1, and a start that trusts no cache"
    local directory
    directory=$(data)
    must_start "$directory"
    write_some 100
    attach "$directory" fdatasync error=EIO:when=5
    write_some 100
    case $reply in
        'ERR OUTCOME '* | '') ;;
        *) fail "after a failed sync a commit is answered $reply" ;;
    esac
    must_fail
    must_hold "$directory"
}

test_failed_write() {
    begin "a failed write"
    local directory
    directory=$(data)
    must_start "$directory"
    write_some 100
    attach "$directory" pwrite64 error=EIO:when=5
    write_some 100
    [ "$reply" != OK ] || fail "nothing failed"
    must_fail
    must_hold "$directory"
}

# What was acknowledged after a write that lied is gone, and that is told rather than hidden. The
# values are longer than a block of the disk, since the last block of a write is written again with
# the next one, which would mend the lie.
test_lying_write() {
    begin "a write that lied is found at the next start"
    local directory value
    directory=$(data)
    must_start "$directory"
    write_some 100
    attach "$directory" pwrite64 retval=12288:when=3
    value=$(printf 'v%.0s' {1..10000})
    for key in {1..30}; do
        printf 'PUT large%s %s\n' "$key" "$value" >&3
        IFS= read -r -t 10 reply <&3 || fail "no reply"
        [ "$reply" = OK ] || fail "the reply is $reply"
    done
    stop
    wait "$tracer" || true
    refused "$directory"
    [ "$code" -eq 3 ] || fail "exit code $code, not 3"
    grep -q 'is damaged at byte' "$work/messages" || fail "the damage is not named"
}

test_slow_disk() {
    begin "while the disk stalls, reads go on and commits wait"
    local directory
    directory=$(data)
    must_start "$directory"
    write_some 50
    attach "$directory" fdatasync delay_enter=4000000:when=1
    printf 'PUT slow 1\n' >&3
    sleep 0.5
    exec 4<> "/dev/tcp/${address%:*}/${address#*:}"
    local begun=$SECONDS
    printf 'GET k1\n' >&4
    IFS= read -r -t 2 reply <&4 || fail "a read waits for the disk"
    [ "$reply" = '"1"' ] || fail "k1 is $reply"
    IFS= read -r -t 20 reply <&3 || fail "the commit is never answered"
    [ "$reply" = OK ] || fail "the commit is answered $reply"
    [ $((SECONDS - begun)) -ge 2 ] || fail "the commit was answered before it was on disk"
    exec 4>&-
    kill "$tracer" 2>/dev/null || true
    wait "$tracer" || true
    check_all
    stop
}

test_read_only() {
    begin "a file system that is read-only from the start, and one that becomes so"
    disk 200
    must_start "$work/disk/data"
    write_some 100
    stop
    mount -o remount,ro "$work/disk"
    refused "$work/disk/data"
    [ "$code" -ne 0 ] || fail "exit code 0"
    grep -q "$work/disk/data" "$work/messages" || fail "the directory is not named"
    mount -o remount,rw "$work/disk"
    must_start "$work/disk/data"
    check_all
    # A mount with open files for writing is not remounted: the file system is forced to be.
    shut_down
    write_some 100
    [ "$reply" != OK ] || fail "it acknowledges what it cannot write"
    stop
    power_on
    must_hold "$work/disk/data"
    umount "$work/disk"
}

test_foreign_directory() {
    begin "a directory of another user is refused, with its path and who this is"
    local directory
    directory=$(data)
    must_start "$directory"
    write_some 10
    stop
    chmod 755 "$work"
    refused "$directory" setpriv --reuid=65534 --regid=65534 --clear-groups
    [ "$code" -ne 0 ] || fail "exit code 0"
    grep -q "$directory" "$work/messages" || fail "the directory is not named"
    grep -q 65534 "$work/messages" || fail "the user is not named"
    must_hold "$directory"
}

test_immutable_log() {
    begin "a log that may not be changed"
    disk 200
    local flag
    for flag in i a; do
        must_start "$work/disk/data"
        write_some 50
        stop
        chattr "+$flag" "$work/disk/data/log"/*.log "$work/disk/data/log"
        start "$work/disk/data"
        if [ -n "$address" ]; then
            connect
            write_some 10
        fi
        stop
        chattr "-$flag" "$work/disk/data/log" "$work/disk/data/log"/*.log
        must_hold "$work/disk/data"
    done
    umount "$work/disk"
}

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    mapfile -t tests < <(declare -F | sed -n 's/^declare -f test_//p')
fi
for test in "${tests[@]}"; do
    "test_$test"
    [ "$acknowledged" -gt 0 ] || fail "nothing was ever acknowledged"
    echo "  $acknowledged commits"
done
echo "${#tests[@]} tests passed"
