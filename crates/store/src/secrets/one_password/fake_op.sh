#!/bin/sh
# Stands in for 1Password's program in tests: answers by what the item is called.
[ "$1 $2" = "read --no-newline" ] || exit 64
case "$3" in
    */missing/*) echo "[ERROR] could not read secret '$3': \"missing\" isn't an item in the \"vault\" vault." >&2; exit 1 ;;
    */locked/*) echo "[ERROR] not signed in" >&2; exit 1 ;;
    */bytes/*) printf '\377' ;;
    */huge/*) head -c 1100000 /dev/zero ;;
    */environment/*) export -p; env ;;
    */silent/*) exec sleep 600 ;;
    *"/two lines") printf 'one\ntwo\n' ;;
    *) printf 'value of %s' "$3" ;;
esac
