"""The broker that the bot brings along: amqtt, in the bot's process, made to keep the delivery rules.

It is there so that one command is enough to try the bot. Its memory ends with the bot's process; whoever wants commands
to wait while the bot is away runs mosquitto and sets `MQTT_HOST`.

amqtt 0.12.1 as it comes loses messages, and more. `listener` takes each new connection out of its hands; what is used
of amqtt is its listeners, its login and its packets. Its faults, and the remedies:

1. a new connection gets the retained messages of everybody's subscriptions → `router.deliver_retained`: for the
   filters of a SUBSCRIBE only.
2. a wrong password with somebody's client id harms that client → `listener`: login first; only `router.admit` touches
   a session.
3. takeover of a persistent session leaves it deaf → `router.admit`: the mailbox belongs to the session, not to the
   connection.
4. takeover of a clean session leaves the old socket and its will → `router.admit`: the old one is out, its will said,
   before CONNACK.
5. keepalive is not enforced → `connection._watch`.
6. what is not acknowledged in 5 s or before a disconnect is lost → `mailbox`: a message leaves by its acknowledgement.
7. a publish to `$x` makes the connection a black hole → `router.publish` takes it; wildcards do not match it
   (`messages.matches`).
8. a DISCONNECT soon after CONNECT fires the will → `connection._receive` takes packets in order.
9. delivered with the subscriber's QoS → `router.publish`: the lower of the two; a new SUBSCRIBE replaces the QoS.
10. queued messages arrive with the retain flag → `router.publish`: only `deliver_retained` sets it.
11. anonymous clients have no session → `router`: the clean session flag decides, nothing else.
12. will and clean session flag of a session are not renewed → `router.admit` keeps the newest CONNECT.
13. concurrent SUBSCRIBEs lose live messages (with an ACL) → `router` has no await in it.
15. a CONNECT in MQTT 5, or none, is neither answered nor closed → `handshake`.
17. an unacknowledged retained message holds up the client's own publishes → `connection`: receiving and sending are
   apart.
19. `$share/…` is granted and delivers nothing → `router.subscribe` refuses it.
- packets whose lengths lie, wrong UTF-8, QoS 3 → `frames`: believed only when amqtt would write them as they came.
- no bound on memory → `limits`, `mailbox`, `retained`; senders who do not read their answers are not read either.

Left alone, because nothing here reaches it: 14 (the ACL plugin) and 16 (password hashes in the event loop): it listens
on loopback only, or for users who may do everything and whose passwords are in the settings; 18 (amqtt's own command
line): it is not used. Its persistence plugin loses payloads and keeps what was delivered, so nothing is on disk.
"""

from allora_mqtt.transport.embedded_broker.embedded import BrokerUnusable, EmbeddedBroker, PortTaken, UntriedAmqtt
from allora_mqtt.transport.embedded_broker.limits import Limits

__all__ = ["BrokerUnusable", "EmbeddedBroker", "Limits", "PortTaken", "UntriedAmqtt"]
