#!/bin/sh
# The way from a clone to a bot on a broker of its own, with TLS, passwords and access rules, to the place where Home
# Assistant comes in: what README.md, mosquitto/README.md and docs/home-assistant.md say, one after the other, in a folder
# that can be thrown away. Ctrl-C ends broker and bot.
# usage: own-broker.sh [FOLDER [PORT]]      (./own-broker and 18883 without; needs mosquitto, openssl and make)
set -eu
checkout=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "${1:-own-broker}"
folder=$(cd "${1:-own-broker}" && pwd) port=${2:-18883}
PATH=$PATH:/usr/sbin
for program in mosquitto mosquitto_passwd openssl make; do
    command -v "$program" >/dev/null || { echo "own-broker: $program is missing (apt-get install mosquitto openssl make)" >&2; exit 2; }
done

echo "1. The program, in an environment of its own"
make -s -C "$checkout" install
allora_mqtt=$checkout/.venv/bin/allora-mqtt

echo "2. Certificates, and three users with a role each"
access() {
    verb=$1
    shift
    "$checkout/mosquitto/access" "$verb" -d "$folder/broker" "$@"
}
mkdir -p "$folder/broker" "$folder/broker/data"
[ -e "$folder/broker/ca/ca.key" ] || access init "$(hostname)"
access add bot bot
access add homeassistant home-assistant
access add me operator

echo "3. The broker"
# The shipped configuration with this folder in it, and of its listeners the two that take a name and a password.
sed -e "s|/etc/mosquitto/|$folder/broker/|; s|/var/lib/mosquitto/|$folder/broker/data/|" \
    -e "s|^listener 1883 |listener $((port + 1)) |; s|^listener 8883|listener $port|" \
    -e '/^# From elsewhere: TLS, and a certificate/,/^# Without these/{/^# Without these/!d}' \
    "$checkout/mosquitto/production.conf" >"$folder/broker/mosquitto.conf"
echo "user $(id -un)" >>"$folder/broker/mosquitto.conf"
mosquitto -c "$folder/broker/mosquitto.conf" 2>"$folder/broker/mosquitto.log" &
broker=$!
bot=
trap 'kill $bot $broker 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM

echo "4. The bot, on the simulator"
login() {
    MQTT_HOST=localhost MQTT_PORT=$port MQTT_TLS=true
    MQTT_TLS_CA=$folder/broker/clients/$1/ca.crt
    MQTT_USERNAME=$1 MQTT_PASSWORD_FILE=$folder/broker/clients/$1/password
    export MQTT_HOST MQTT_PORT MQTT_TLS MQTT_TLS_CA MQTT_USERNAME MQTT_PASSWORD_FILE
}
(
    login bot
    set -a
    # shellcheck source=/dev/null
    . "$folder/broker/clients/bot/bot.env"
    set +a
    export BOT_DATA_DIR="$folder/bot"
    exec "$allora_mqtt" run
) >"$folder/bot.log" 2>&1 &
bot=$!
login me
tries=60
until "$allora_mqtt" health >/dev/null 2>&1; do
    tries=$((tries - 1))
    if [ $tries = 0 ] || ! kill -0 "$bot" 2>/dev/null; then
        echo "own-broker: the bot does not come; $folder/bot.log and $folder/broker/mosquitto.log say why:" >&2
        tail -n 5 "$folder/bot.log" "$folder/broker/mosquitto.log" >&2
        exit 1
    fi
    sleep 1
done
"$allora_mqtt" cryptos set BTC ETH
"$allora_mqtt" status

echo "5. Home Assistant: Settings, Devices & services, Add integration, MQTT"
echo "     broker    $(hostname), or localhost on this machine"
echo "     port      $port"
echo "     username  homeassistant"
echo "     password  in $folder/broker/clients/homeassistant/password"
echo "     broker certificate validation: Custom, $folder/broker/clients/homeassistant/ca.crt"
echo "   The device AlloraMind appears by itself. Ctrl-C ends broker and bot."
wait "$bot"
