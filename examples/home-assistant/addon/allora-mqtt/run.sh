#!/usr/bin/with-contenv bashio
# Each option is the setting of the same name; the broker is the one that the Supervisor knows.
# shellcheck shell=bash
set -euo pipefail

if ! bashio::services.available mqtt; then
    bashio::exit.nok "There is no MQTT broker: install and start the Mosquitto broker, then start this again."
fi
MQTT_HOST=$(bashio::services mqtt host)
MQTT_PORT=$(bashio::services mqtt port)
MQTT_USERNAME=$(bashio::services mqtt username)
MQTT_PASSWORD=$(bashio::services mqtt password)
MQTT_TLS=$(bashio::services mqtt ssl)
export MQTT_HOST MQTT_PORT MQTT_USERNAME MQTT_PASSWORD MQTT_TLS

# Assigned before use, so that what cannot be read ends this: `for` and `export` go on without it.
options=$(bashio::jq /data/options.json 'keys[]')
for option in $options; do
    if bashio::config.has_value "$option"; then
        value=$(bashio::config "$option")
        export "${option^^}=$value"
    fi
done

export BOT_DATA_DIR=/data
exec allora-mqtt run
