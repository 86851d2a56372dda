#!/bin/sh
# Run `alveary ...` in a container whose secrets are files in /run/secrets. A coordinator has its own
# copies of its keys, libpq takes no password file that others can read, and a gateway follows no links to
# tenants' keys, which the files of a Kubernetes Secret are.
set -eu
umask 077
data=/var/lib/alveary

for name in identity.key swarm.secret recovery.json; do
    given=/run/secrets/$name
    if [ -e "$given" ] && [ ! -e "$data/$name" ]; then
        cp "$given" "$data/$name.new"
        mv "$data/$name.new" "$data/$name"
    fi
done
if [ -e /run/secrets/pgpass ]; then
    cp /run/secrets/pgpass /tmp/pgpass
    export PGPASSFILE=/tmp/pgpass
fi
if [ -d /run/secrets/tenants ]; then
    mkdir -p /tmp/tenants
    for given in /run/secrets/tenants/*.json; do
        [ ! -e "$given" ] || cp "$given" /tmp/tenants/
    done
fi
exec alveary "$@"
