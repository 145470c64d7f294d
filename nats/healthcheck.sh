#!/bin/sh
# Health check of the nats container. After a full disk or a failed write nats-server refuses writes until it is started
# again, and Docker starts again only what has ended: so a server that was well and is unwell for six checks in a row is
# ended here. `pricetime up` does the same in cli/health.py. A node of a cluster is also unwell while it waits for the
# others or catches up with them, which a restart would only make longer: it is ended when it has given up JetStream.
URL="${1:-http://127.0.0.1:8222/healthz}"
SERVER_PID="${2:-1}"
STATE="${3:-/tmp/unwell}"

if wget -q -T 2 -O /dev/null "$URL"; then
  echo 0 >"$STATE"
  exit 0
fi
if wget -q -T 2 -O - "${URL%/healthz}/varz" 2>/dev/null | grep -q '"cluster_port"' &&
  wget -q -T 2 -O /dev/null "$URL?js-enabled-only=true"; then
  exit 1
fi
if [ -f "$STATE" ]; then # there since it was well for the first time: a server that is starting is left alone
  count=$(($(cat "$STATE") + 1))
  echo "$count" >"$STATE"
  if [ "$count" -ge 6 ]; then
    rm "$STATE"
    kill -TERM "$SERVER_PID"
  fi
fi
exit 1
