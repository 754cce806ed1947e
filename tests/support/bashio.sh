# What the add-on's run.sh uses of bashio, from $OPTIONS and $SERVICE (JSON) instead of the Supervisor.
# shellcheck shell=bash
take() {
    "$PYTHON" - "$1" "$2" <<'P'
import json, sys
value = json.loads(sys.argv[1]).get(sys.argv[2])
print(value if isinstance(value, str) else json.dumps(value), end="")
P
}
bashio::jq() {
    if [ "$*" != "/data/options.json keys[]" ]; then exit 9; fi
    "$PYTHON" -c 'import json, sys; print(*json.loads(sys.argv[1]), sep="\n")' "$OPTIONS"
}
bashio::config() { take "$OPTIONS" "$1"; }
bashio::config.has_value() {
    local value
    value=$(bashio::config "$1")
    [ -n "$value" ] && [ "$value" != null ]
}
bashio::services.available() { [ "$1" = mqtt ] && [ -n "$SERVICE" ]; }
bashio::services() { take "$SERVICE" "$2"; }
bashio::exit.nok() {
    echo "$1" >&2
    exit 1
}
