#!/bin/sh
# Sends the bot a signed command (MQTT_COMMAND_SECRET), with nothing but openssl and mosquitto_pub.
#
# usage: signed.sh [-n] TOPIC [FIELDS]      (MQTT_HOST, MQTT_PORT and BASE say where)
#   signed.sh mode/set '"value":"STANDBY"'
#   signed.sh request/close '"symbol":"ETH"'
#   signed.sh request/flatten
#   -n   only show what would be sent
#
# MQTT_COMMAND_SECRET_FILE, or MQTT_COMMAND_SECRET, holds the secret, alone or as id:secret; the first of several signs.
# The secret is never an argument of a program, where every user of this machine could read it.
set -eu

dry=
[ "${1:-}" = -n ] && dry=yes && shift
topic=${BASE:-bot}/${1:?say which topic, for example mode/set} fields=${2:-}

if [ -n "${MQTT_COMMAND_SECRET_FILE:-}" ]; then
    IFS=, read -r first rest <"$MQTT_COMMAND_SECRET_FILE" || [ -n "$first" ]
else
    first=${MQTT_COMMAND_SECRET:?is not set, nor is MQTT_COMMAND_SECRET_FILE} && first=${first%%,*}
fi
secret=${first##*:} key=default
[ "$secret" = "$first" ] || key=${first%:*}

padded() { # the 64 bytes that HMAC begins with: the secret and zeros, each byte xor $1
    { printf %s "$secret" && head -c 64 /dev/zero; } | head -c 64 | od -An -v -tu1 | tr -s ' ' '\n' |
        while read -r byte; do
            [ -z "$byte" ] || printf %b "\\0$(printf %03o $((byte ^ $1)))"
        done
}

sha256() {
    openssl dgst -sha256 -binary
}

hmac() { # HMAC-SHA256 of what comes in, in hexadecimal: RFC 2104 by hand, for openssl takes a key as an argument only
    { padded 92 && { padded 54 && cat; } | sha256; } | sha256 | od -An -v -tx1 | tr -d ' \n'
}

id=${ID:-sh-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')} at=${AT:-$(date -u +%Y-%m-%dT%H:%M:%SZ)}
text="{\"topic\":\"$topic\",${fields:+$fields,}\"id\":\"$id\",\"issued_at\":\"$at\",\"source\":\"signed.sh\"}"
signature=$(printf %s "$text" | hmac)
quoted=$(printf %s "$text" | sed 's/[\\"]/\\&/g')
payload="{\"signed\":\"$quoted\",\"key\":\"$key\",\"signature\":\"$signature\"}"

if [ -n "$dry" ]; then
    printf '%s\n' "$payload"
else
    # What is to be so may wait in the broker for a bot that is away; what is to be done once must not be retained.
    case $topic in */set) retain=-r ;; *) retain= ;; esac
    mosquitto_pub -h "${MQTT_HOST:-127.0.0.1}" -p "${MQTT_PORT:-1883}" -q 1 $retain -t "$topic" -m "$payload"
fi
