#!/usr/bin/env bash
# Runs three nats-servers and three workers on this machine until it gets SIGINT or
# SIGTERM or one of them ends. Needs Go and bash 4.4 or newer; builds both programs
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
servers=()
workers=()
declare -A names # of the processes, by ID

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

# note_taken VARIABLE PORT... tells of ports that something listens on.
note_taken() {
  local port
  for port in "${@:2}"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      echo "port $port is taken: choose others with $1, now \"${*:2}\"" >&2
      taken=1
    fi
  done
}

# await PID PORT PATH waits until http://127.0.0.1:PORT/PATH answers with 200.
await() {
  local until=$((SECONDS + 120)) status
  while ((SECONDS < until)); do
    all_run
    status=$(ask "$2" "$3" 2>/dev/null) || status=
    if [[ $status == *' 200 '* ]]; then
      return
    fi
    sleep 0.2
  done
  blame "$1" "does not answer http://127.0.0.1:$2/$3 with 200"
}

# all_run ends the script if a process has ended.
all_run() {
  local pid
  for pid in "${!names[@]}"; do
    kill -0 "$pid" 2>/dev/null || blame "$pid" "has ended"
  done
}

# blame PID WHAT ends the script with the end of the log of a process.
blame() {
  echo "${names[$1]} $2, its log ends with:" >&2
  tail -n 20 "$dir/log/${names[$1]}.log" >&2
  exit 1
}

# ask PORT PATH prints the first line of the answer.
ask() {
  exec 3<>"/dev/tcp/127.0.0.1/$1"
  printf 'GET /%s HTTP/1.0\r\n\r\n' "$2" >&3
  read -r -t 2 <&3 && echo "$REPLY"
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
  names[$!]=n$(($1 + 1))
}

start_worker() { # N
  ROUTER_WORKER_NATS_URL=${urls:1} \
    ROUTER_WORKER_STREAMS_REPLICAS=3 \
    ROUTER_WORKER_HTTP_LISTEN=127.0.0.1:${http_ports[$1]} \
    "$dir/bin/router-worker" run --config "$deploy/router-worker.yaml" >>"$dir/log/worker-$(($1 + 1)).log" 2>&1 </dev/null &
  workers+=($!)
  names[$!]=worker-$(($1 + 1))
}

routes=$(printf ', nats://127.0.0.1:%s' "${cluster_ports[@]}")
urls=$(printf ',nats://127.0.0.1:%s' "${nats_ports[@]}")

taken=0
note_taken NATS_PORTS "${nats_ports[@]}"
note_taken CLUSTER_PORTS "${cluster_ports[@]}"
note_taken MONITOR_PORTS "${monitor_ports[@]}"
note_taken HTTP_PORTS "${http_ports[@]}"
((taken == 0)) || exit 1

dir=${LOCAL_DIR:-$(mktemp -d)}
trap end EXIT
trap 'exit 0' INT TERM
mkdir -p "$dir/bin" "$dir/log"
(cd "$deploy/.." && GOBIN=$dir/bin go install ./cmd/router-worker github.com/nats-io/nats-server/v2)
for n in "${!nats_ports[@]}"; do start_server "$n"; done
for n in "${!nats_ports[@]}"; do await "${servers[n]}" "${monitor_ports[n]}" healthz; done
for n in "${!http_ports[@]}"; do start_worker "$n"; done
for n in "${!http_ports[@]}"; do await "${workers[n]}" "${http_ports[n]}" readyz; done
echo "ready: ${urls:1}, logs in $dir/log"

while all_run; do wait -n || true; done
