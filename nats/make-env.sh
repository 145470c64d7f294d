#!/bin/sh
# Makes the passwords that docker-compose.yml asks for, in the file .env beside it. Those that are there already stay.
set -eu
FILE="${1:-$(dirname "$0")/../.env}"

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
