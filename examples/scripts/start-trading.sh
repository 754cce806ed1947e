#!/bin/sh
# Says which coins to trade and switches the bot to ACTIVE, with nothing but mosquitto_pub.
# usage: start-trading.sh BTC,ETH      (MQTT_HOST, MQTT_PORT and BASE say where)
set -eu
coins=${1:?say which coins, for example BTC,ETH}
host=${MQTT_HOST:-127.0.0.1} port=${MQTT_PORT:-1883} base=${BASE:-bot}

mosquitto_pub -h "$host" -p "$port" -q 1 -r -t "$base/cryptos/set" -m "$coins"
mosquitto_pub -h "$host" -p "$port" -q 1 -r -t "$base/mode/set" -m ACTIVE
