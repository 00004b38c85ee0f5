#!/bin/sh
# Compares `serve` with the axum example, in turns: the same store, a page that counts
# a visit and writes it durably. Prints requests a second, and processor time a request.
#
#   cargo build --release && cargo build --release --example axum
#   host-demo/benches/serving.sh [target/release [SECONDS]]
#
# Needs wrk, curl and /proc. Both sides have 64 connections, each with a session of its
# own; "new" is a request without a cookie, which creates a session. "reusing" is `serve`
# with 1000 requests for each instance.
set -eu
binaries=${1:-target/release}
seconds=${2:-5}
home=$(mktemp -d)
servers=
trap 'kill $servers 2>/dev/null || :; wait; rm -rf "$home"' EXIT

start() { # NAME URL COMMAND...
  name=$1 url=$2
  shift 2
  "$@" >"$home/$name.out" 2>"$home/$name.log" &
  servers="$servers $!"
  eval "$name=$!"
  for _ in $(seq 200); do
    curl -s -o "$home/page" "$url" && break
    sleep 0.1
  done
  {
    echo 'local cookies, next = {}, 0'
    for _ in $(seq 64); do
      curl -s -o "$home/page" -D - "$url" |
        sed -n 's/^[Ss]et-[Cc]ookie: \([^;]*\).*/table.insert(cookies, "\1")/p'
    done
    echo 'function request() next = next % #cookies + 1'
    echo 'return wrk.format("GET", "/", { ["Cookie"] = cookies[next] }) end'
  } >"$home/$name.lua"
}

# The processor time of a process, in ticks of 10 ms.
ticks() { cut -d ' ' -f 14,15 "/proc/$1/stat" | { read -r user system; echo $((user + system)); }; }

measure() { # NAME PROCESS URL [SCRIPT]
  name=$1 process=$2 url=$3
  shift 3
  before=$(ticks "$process")
  wrk -t 1 -c 64 -d "$seconds" "$@" "$url" >"$home/wrk"
  after=$(ticks "$process")
  awk -v name="$name" -v ticks=$((after - before)) '
    /requests in/ { count = $1 }
    /Requests\/sec/ { speed = $2 }
    /Non-2xx|Socket errors/ { wrong = "  " $0 }
    END { printf "%-22s %8.0f requests/s %8.0f us each%s\n", name, speed, ticks * 1e4 / count, wrong }
  ' "$home/wrk"
}

start serve http://127.0.0.1:8097/ \
  "$binaries/wasi-sessions" serve --directory "$home/served" --address 127.0.0.1:8097
start reusing http://127.0.0.1:8098/ \
  "$binaries/wasi-sessions" serve --directory "$home/reused" --address 127.0.0.1:8098 \
  --requests-per-instance 1000
start axum http://127.0.0.1:3000/ "$binaries/examples/axum" "$home/axum"
for round in 1 2 3; do
  echo "round $round"
  measure 'serve, stylesheet' "$serve" http://127.0.0.1:8097/style.css
  measure 'reusing, stylesheet' "$reusing" http://127.0.0.1:8098/style.css
  measure 'serve, new' "$serve" http://127.0.0.1:8097/
  measure 'reusing, new' "$reusing" http://127.0.0.1:8098/
  measure 'axum, new' "$axum" http://127.0.0.1:3000/
  measure 'serve, counting' "$serve" http://127.0.0.1:8097/ -s "$home/serve.lua"
  measure 'reusing, counting' "$reusing" http://127.0.0.1:8098/ -s "$home/reusing.lua"
  measure 'axum, counting' "$axum" http://127.0.0.1:3000/ -s "$home/axum.lua"
done
