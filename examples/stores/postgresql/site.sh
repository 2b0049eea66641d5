#!/bin/sh
# A primary and a standby made by hand, as a store of kind `postgresql`: what only the site can do to its servers.
#   ./site.sh start 5441 5442     makes and starts both in this folder; stop ends them
# Clients find the server that takes writes by themselves (target_session_attrs), so that `reroute` has nothing to do.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
bin=$(ls -d /usr/lib/postgresql/*/bin | tail -n 1)

# PostgreSQL refuses root.
server() { if [ "$(id -u)" = 0 ]; then runuser -u postgres -- "$@"; else "$@"; fi; }

# A server and its data directory are called a or b, like the file with its connection string.
run() { server "$bin/pg_ctl" start --wait --silent --pgdata "$here/$1" --log "$here/$1.log" --options "-p $(cat "$here/$1.port")"; }
end() { server "$bin/pg_ctl" stop --mode immediate --silent --pgdata "$here/$1" 2>/dev/null || true; }
copy() { # FROM TO: make TO a standby of FROM
    server "$bin/pg_basebackup" --dbname "$(cat "$here/$1.conn")" --pgdata "$here/$2" --checkpoint fast --wal-method stream \
        --write-recovery-conf
    run "$2"
}

case "$1" in
start)
    [ "$(id -u)" != 0 ] || chown postgres "$here"
    for name in a b; do
        shift
        echo "$1" >"$here/$name.port"
        echo "host=127.0.0.1 port=$1 user=midwatch dbname=postgres" >"$here/$name.conn"
    done
    ports="$(cat "$here/a.port"),$(cat "$here/b.port")"
    echo "host=127.0.0.1,127.0.0.1 port=$ports user=midwatch dbname=postgres target_session_attrs=read-write" >"$here/clients.conn"
    server "$bin/initdb" --pgdata "$here/a" --username midwatch --auth trust --no-sync >/dev/null
    server sh -c "cat >>'$here/a/postgresql.conf'" <<SETTINGS
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
wal_log_hints = on
wal_retrieve_retry_interval = 100ms
SETTINGS
    run a
    "$bin/psql" --quiet "$(cat "$here/a.conn")" <<SQL
CREATE SCHEMA midwatch_drill;
CREATE TABLE midwatch_drill.allowed (store text);
CREATE TABLE midwatch_drill.writes (run text, seq bigint, checksum text);
INSERT INTO midwatch_drill.allowed VALUES ('features');
SQL
    copy a b
    ;;
stop)
    end a
    end b
    ;;
inject) # the primary loses its power; which it is, says the server
    for name in a b; do
        said=$("$bin/psql" --quiet --tuples-only --no-align --command 'SELECT pg_is_in_recovery()' "$(cat "$here/$name.conn")" 2>/dev/null) || continue
        [ "$said" = f ] || continue
        number=$(head -n 1 "$here/$name/postmaster.pid")
        pkill -KILL -P "$number" || true
        kill -KILL "$number"
    done
    ;;
fence) # what failed cannot come back by itself: it is ended, and its data is out of the way
    old=$(basename "$MIDWATCH_OLD_PRIMARY_FILE" .conn)
    end "$old"
    [ ! -d "$here/$old" ] || mv "$here/$old" "$here/$old.fenced-$2"
    echo "$old is ended, its data is in $old.fenced-$2"
    ;;
rebuild) # what failed becomes a standby of the new primary, from nothing
    old=$(basename "$MIDWATCH_OLD_PRIMARY_FILE" .conn)
    new=$(basename "$MIDWATCH_NEW_PRIMARY_FILE" .conn)
    copy "$new" "$old"
    echo "$old is a standby of $new"
    ;;
*)
    echo "$1 is no word of this script" >&2
    exit 2
    ;;
esac
