#!/bin/sh
# Makes the passwords that docker-compose.yml asks for, in the file .env beside it. Those that are there already stay.
#   sh nats/make-env.sh [FILE] [cluster]
# With `cluster` also what makes three nats-servers of one: their data is apart from that of the one.
set -eu
FILE="${1:-$(dirname "$0")/../.env}"
CLUSTER="${2:-}"
if [ "$FILE" = cluster ]; then
  FILE="$(dirname "$0")/../.env"
  CLUSTER=cluster
fi

umask 077
touch "$FILE"
chmod 600 "$FILE"
for user in MATCHER RECORDER BROADCASTER GATEWAY OPERATOR ADMIN MARKET ANYONE ROUTES; do
  name="PRICETIME_NATS_PASSWORD_$user"
  if ! grep -q "^$name=" "$FILE"; then
    # a letter first, so that nats-server takes it for text
    echo "$name=p$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')" >>"$FILE"
  fi
done
if [ "$CLUSTER" = cluster ] && ! grep -q "^COMPOSE_PROFILES=" "$FILE"; then
  cat >>"$FILE" <<'END'
COMPOSE_PROFILES=cluster
PRICETIME_NATS_CONFIGURATION=compose-cluster.conf
PRICETIME_NATS_STORE=/data/cluster
PRICETIME_NATS_HOSTS=nats:4222,nats-2:4222,nats-3:4222
PRICETIME_NATS_MONITORS=nats:8222,nats-2:8222,nats-3:8222
PRICETIME_REPLICAS=3
END
fi
