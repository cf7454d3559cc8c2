#!/bin/sh
# Keep FOLDER/corkage.db a copy of the database that Litestream replicates: follow.sh REPLICA FOLDER
#
# Each start makes a new copy, and only then turns FOLDER/corkage.db, a link, from the last copy to it. So readers are
# answered from the last one while the replica cannot be reached. A follower that is restarted cannot go on with its
# copy: Litestream 0.5 mostly refuses that.
set -eu

replica=${1:?usage: follow.sh REPLICA FOLDER}
folder=${2:?usage: follow.sh REPLICA FOLDER}
interval=${FOLLOW_INTERVAL:-500ms}    # each look is a LIST request at the replica
silence=${FOLLOW_SILENCE:-900}        # seconds without any change, after which a new copy is made

copy="$folder/copy.$(date +%s).$$"
mkdir "$copy"
litestream restore -f -follow-interval "$interval" -o "$copy/corkage.db" "$replica" &
follower=$!
trap 'exit 143' TERM INT
trap 'kill "$follower" 2>/dev/null || :; wait "$follower" || :' EXIT

follows() { kill -0 "$follower" 2>/dev/null; }
pause() { sleep "$1" & wait "$!"; }

until [ -e "$copy/corkage.db-txid" ]; do
  follows || { rm -rf "$copy"; echo "no copy could be made; the last one stays" >&2; exit 1; }
  pause 0.1
done

# Readers shall not make files beside it: this marks it as a file without a -wal, as the follower does with its changes.
printf '\1\1' | dd of="$copy/corkage.db" bs=1 seek=18 conv=notrunc status=none
ln -s "$(basename "$copy")/corkage.db" "$copy/link"
mv -T "$copy/link" "$folder/corkage.db"
for old in "$folder"/copy.*; do
  [ "$old" = "$copy" ] || rm -rf "$old"
done

while follows; do
  age=$(($(date +%s) - $(stat -c %Y "$copy/corkage.db-txid")))
  [ "$age" -le "$silence" ] || { echo "no change came for $age s: a new copy is made" >&2; exit 1; }
  pause 2
done
echo "the follower has ended" >&2
exit 1
