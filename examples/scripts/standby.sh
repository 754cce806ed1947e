#!/bin/sh
# No new positions from now on; open ones keep their stops. Works while the bot is away too.
# usage: standby.sh      (MQTT_HOST, MQTT_PORT and BASE say where)
set -eu
host=${MQTT_HOST:-127.0.0.1} port=${MQTT_PORT:-1883} base=${BASE:-bot}

mosquitto_pub -h "$host" -p "$port" -q 1 -r -t "$base/mode/set" -m STANDBY
