#!/bin/bash
# Writes the manual page of a program: the frame beside this file, and in the place of @COMMANDS@ every
# command with its options, as the program itself explains them (`--help`). So the page cannot fall
# behind the program.
#   generate.sh PROGRAM-FILE FRAME DATE >PAGE
# DATE as in "November 22, 2026". Exit status 1 when the program does not explain itself.
set -euo pipefail
export LC_ALL=C.UTF-8
program=$1 frame=$2 date=$3
here=$(cd "$(dirname "$0")" && pwd)
# Deeper than any command is.
depth_max=4

explain() { # the words of a command
    local help
    help=$("$program" "$@" --help) || exit 1
    [ -n "$help" ] || exit 1
    if [ $# -gt 0 ]; then
        awk -v words="$*" -f "$here/mdoc.awk" <<<"$help"
    fi
    [ $# -lt $depth_max ] || return 0
    local name
    for name in $(awk '/^Commands:/ { on = 1; next } on && /^  [a-z]/ { print $1 } on && /^$/ { exit }' <<<"$help"); do
        [ "$name" = help ] || explain "$@" "$name"
    done
}

commands=$(explain)
while IFS= read -r line; do
    case "$line" in
    @COMMANDS@) printf '%s\n' "$commands" ;;
    *) printf '%s\n' "${line//@DATE@/$date}" ;;
    esac
done <"$frame"
