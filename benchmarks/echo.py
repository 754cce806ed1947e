"""What a command costs at least: a client that answers each message with the same message, as a process of its own."""

import argparse
import os
import socket
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from allora_mqtt import tcp
from benchmarks.asker import send_at_once


def main() -> None:
    """Answer until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("base")
    parser.add_argument("version", choices=["5", "3.1.1"])
    parser.add_argument("--journal", type=Path, help="append each message to this file and fsync it before the answer")
    options = parser.parse_args()
    is_v5 = options.version == "5"
    journal = None if options.journal is None else options.journal.open("ab", buffering=0)

    def on_message(client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        if journal is not None:
            journal.write(message.payload)
            os.fsync(journal.fileno())
        client.ack(message.mid, message.qos)
        client.publish(f"{options.base}/response/ping", message.payload, 1)
        _acknowledge_at_once(client)

    def on_connect(client: paho.Client, *_: object) -> None:
        client.subscribe(f"{options.base}/request/ping", 1)

    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
        manual_ack=True,
    )
    client.on_socket_open = send_at_once
    client.on_connect = on_connect
    client.on_message = on_message
    client.connect("127.0.0.1", options.port)
    client.loop_forever()


def _acknowledge_at_once(client: paho.Client) -> None:
    connection = client.socket()
    if isinstance(connection, socket.socket):
        tcp.acknowledge_at_once(connection)


if __name__ == "__main__":
    main()
