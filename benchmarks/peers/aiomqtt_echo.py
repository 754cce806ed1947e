"""Answer each message with the same message, with aiomqtt as its README shows it."""

import asyncio
import sys

import aiomqtt
from nodelay import patch_sockets


async def main(port: int, base: str, version: str) -> None:
    """Answer until killed."""
    protocol = aiomqtt.ProtocolVersion.V5 if version == "5" else aiomqtt.ProtocolVersion.V311
    async with aiomqtt.Client("127.0.0.1", port, protocol=protocol) as client:
        await client.subscribe(f"{base}/request/ping", qos=1)
        async for message in client.messages:
            await client.publish(f"{base}/response/ping", message.payload, qos=1)


if __name__ == "__main__":
    if "--nodelay" in sys.argv:
        patch_sockets()
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
