# Usage: sh -c janitor.sh name directory, with a pipe as standard input, as the
# leader of a process group. Waits for the pipe to end, then kills the group and
# removes the directory.
#
# SIGUSR2 kills Redis at once, also a paused one (it is delivered before anything
# else when the process continues), and not this shell, which has yet to remove
# the directory. SIGHUP comes from the kernel if the parent dies while a member
# of the group is stopped.
trap '' HUP INT TERM USR2
read -r _
kill -USR2 0
kill -CONT 0
rm -rf -- "$1"
kill -KILL 0
