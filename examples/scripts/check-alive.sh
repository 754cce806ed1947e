#!/bin/sh
# Is my bot alive? For cron, and for Nagios, Icinga and what reads their exit codes.
#
# usage: check-alive.sh [-H HOST] [-p PORT] [-b BASE] [-w WARN_S] [-c CRIT_S]
#   HOST, PORT, BASE   the broker and the base topic; without: MQTT_HOST, MQTT_PORT, BASE, else 127.0.0.1, 1883, bot
#   WARN_S, CRIT_S     how old a heartbeat may be, in seconds (12, 30); the bot sends one every 5 s
#
# exit code: 0 OK, 1 WARNING, 2 CRITICAL (no heartbeat, no bot, no broker), 3 UNKNOWN (cannot be looked at)
# A login belongs into ~/.config/mosquitto_sub, one option a line: -u NAME, -P PASSWORD.
set -u

host=${MQTT_HOST:-127.0.0.1} port=${MQTT_PORT:-1883} base=${BASE:-bot} warn_s=12 crit_s=30

end() { # exit code, word, sentence
    echo "ALLORA-MQTT $2 - $3"
    exit "$1"
}

while getopts :H:p:b:w:c: option; do
    case $option in
        H) host=$OPTARG ;;
        p) port=$OPTARG ;;
        b) base=$OPTARG ;;
        w) warn_s=$OPTARG ;;
        c) crit_s=$OPTARG ;;
        *) end 3 UNKNOWN "usage: $0 [-H HOST] [-p PORT] [-b BASE] [-w WARN_S] [-c CRIT_S]" ;;
    esac
done
case $warn_s$crit_s in
    *[!0-9]*) end 3 UNKNOWN "WARN_S and CRIT_S are whole seconds, not '$warn_s' and '$crit_s'" ;;
esac
command -v mosquitto_sub >/dev/null || end 3 UNKNOWN "mosquitto_sub is not installed (apt-get install mosquitto-clients)"

listen() { # topic, seconds
    mosquitto_sub -h "$host" -p "$port" -t "$base/$1" -C 1 -W "$2" 2>&1
}

epoch_s() { # 2026-11-20T10:00:00.123Z as seconds since 1970, with nothing but POSIX
    echo "$1" | awk -F '[-T:Z]' '{
        year = $1 - ($2 <= 2); month = ($2 + 9) % 12; era = int(year / 400); of_era = year - era * 400
        of_year = int((153 * month + 2) / 5) + $3 - 1
        day = era * 146097 + of_era * 365 + int(of_era / 4) - int(of_era / 100) + of_year - 719468
        printf "%.0f\n", day * 86400 + $4 * 3600 + $5 * 60 + int($6) }'
}

field() { # a field of the heartbeat
    echo "$beat" | sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"
}

# Heartbeats are not retained: one that comes is new, and none comes from a bot that hangs.
began_s=$(epoch_s "$(date -u +%Y-%m-%dT%H:%M:%SZ)")
beat=$(listen heartbeat "$crit_s")
code=$?
now_s=$(epoch_s "$(date -u +%Y-%m-%dT%H:%M:%SZ)")

case $code in
    0) ;;
    27)
        [ "$(listen availability 2)" = offline ] && end 2 CRITICAL "the bot is offline"
        end 2 CRITICAL "no heartbeat on $base/heartbeat for $crit_s s"
        ;;
    *) end 2 CRITICAL "the broker at $host:$port: $beat" ;;
esac

at=$(field at)
[ -n "$at" ] || end 3 UNKNOWN "$base/heartbeat holds no heartbeat"
# The older of two: how long none came, and how long this one took.
age_s=$((now_s - began_s))
took_s=$((now_s - $(epoch_s "$at")))
[ "$took_s" -gt "$age_s" ] && age_s=$took_s

said="$(field mode), heartbeat $age_s s old, up $(field uptime_s) s | age=${age_s}s;$warn_s;$crit_s"
[ "$age_s" -ge "$crit_s" ] && end 2 CRITICAL "$said"
[ "$age_s" -ge "$warn_s" ] && end 1 WARNING "$said"
end 0 OK "$said"
