#!/usr/bin/env bash
# Runs three nats-servers and three workers on this machine until it gets SIGINT or
# SIGTERM or one of them ends. Needs Go and bash 4.3 or newer; builds both programs
# from this repository.
#
#   NATS_PORTS     ports for clients (4222 4223 4224)
#   CLUSTER_PORTS  ports for the servers among themselves (6222 6223 6224)
#   MONITOR_PORTS  ports of the servers' /healthz (8222 8223 8224)
#   HTTP_PORTS     ports of the workers' /readyz and /metrics (8081 8082 8083)
#   LOCAL_DIR      where programs, logs and streams are kept; where it is not set,
#                  that is a new directory that is removed at the end
set -euo pipefail
set -m # Every process in a group of its own: Ctrl-C reaches this script alone.

deploy=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -ra nats_ports <<<"${NATS_PORTS:-4222 4223 4224}"
read -ra cluster_ports <<<"${CLUSTER_PORTS:-6222 6223 6224}"
read -ra monitor_ports <<<"${MONITOR_PORTS:-8222 8223 8224}"
read -ra http_ports <<<"${HTTP_PORTS:-8081 8082 8083}"
dir=${LOCAL_DIR:-$(mktemp -d)}
servers=()
workers=()

# end stops the workers first: they hand over what they have, and need servers for
# that.
end() {
  local status=$?
  trap '' INT TERM
  trap - EXIT
  stop "${workers[@]}"
  stop "${servers[@]}"
  if [[ -z ${LOCAL_DIR:-} ]]; then
    rm -rf "$dir"
  fi
  exit "$status"
}

# stop asks processes to end and waits for them.
stop() {
  if (($# > 0)); then
    kill "$@" 2>/dev/null || true
    wait "$@" 2>/dev/null || true
  fi
}

# await PORT PATH waits until http://127.0.0.1:PORT/PATH answers with 200.
await() {
  local tries=600 status
  while ((tries-- > 0)); do
    status=$(ask "$1" "$2" 2>/dev/null) || status=
    if [[ $status == *' 200 '* ]]; then
      return
    fi
    sleep 0.2
  done
  echo "http://127.0.0.1:$1/$2 is not well: see $dir/log" >&2
  exit 1
}

# ask PORT PATH prints the first line of the answer.
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf 'GET /%s HTTP/1.0\r\n\r\n' "$2" >&3
  head -n 1 <&3
  exec 3>&-
}

start_server() { # N
  NATS_NAME=n$(($1 + 1)) \
    NATS_LISTEN=127.0.0.1:${nats_ports[$1]} \
    NATS_CLUSTER_LISTEN=127.0.0.1:${cluster_ports[$1]} \
    NATS_ROUTES="[${routes:2}]" \
    NATS_MONITOR=127.0.0.1:${monitor_ports[$1]} \
    NATS_STORE=$dir/store/n$(($1 + 1)) \
    "$dir/bin/nats-server" --config "$deploy/nats-cluster.conf" >>"$dir/log/n$(($1 + 1)).log" 2>&1 </dev/null &
  servers+=($!)
}

start_worker() { # N
  ROUTER_WORKER_NATS_URL=${urls:1} \
    ROUTER_WORKER_STREAMS_REPLICAS=3 \
    ROUTER_WORKER_HTTP_LISTEN=127.0.0.1:${http_ports[$1]} \
    "$dir/bin/router-worker" run --config "$deploy/router-worker.yaml" >>"$dir/log/worker-$(($1 + 1)).log" 2>&1 </dev/null &
  workers+=($!)
}

routes=$(printf ', nats://127.0.0.1:%s' "${cluster_ports[@]}")
urls=$(printf ',nats://127.0.0.1:%s' "${nats_ports[@]}")

trap end EXIT
trap 'exit 0' INT TERM
mkdir -p "$dir/bin" "$dir/log"
(cd "$deploy/.." && GOBIN=$dir/bin go install ./cmd/router-worker github.com/nats-io/nats-server/v2)
for n in "${!nats_ports[@]}"; do start_server "$n"; done
for port in "${monitor_ports[@]}"; do await "$port" healthz; done
for n in "${!http_ports[@]}"; do start_worker "$n"; done
for port in "${http_ports[@]}"; do await "$port" readyz; done
echo "ready: ${urls:1}, logs in $dir/log"

status=0
wait -n || status=$?
echo "one of the processes has ended: see $dir/log" >&2
exit "$((status == 0 ? 1 : status))"
