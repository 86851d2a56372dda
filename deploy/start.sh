#!/bin/sh
# Run `alveary ...` in a container whose secrets are files in /run/secrets. A coordinator that another
# one has added takes its keys from a copy of recovery.json at its first start, libpq takes no password file
# that others can read, and a gateway follows no links to tenants' keys, which the files of a Kubernetes
# Secret are.
set -eu
umask 077
data=/var/lib/alveary

given=/run/secrets/recovery.json
if [ -e "$given" ] && [ ! -e "$data/recovery.json" ]; then
    cp "$given" "$data/recovery.json.new"
    mv "$data/recovery.json.new" "$data/recovery.json"
fi
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
