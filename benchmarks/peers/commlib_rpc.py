"""Answer each call with its own data, with commlib's RPC service over MQTT."""

import sys
import time
from typing import Any

from commlib.transports.mqtt import ConnectionParameters, RPCService
from nodelay import patch_sockets


def answer(data: dict[str, Any]) -> dict[str, Any]:
    """Give back what was asked."""
    return data


def main(port: int, base: str) -> None:
    """Answer until killed."""
    service = RPCService(
        conn_params=ConnectionParameters(host="127.0.0.1", port=port),
        rpc_name=f"{base}/request/ping",
        on_request=answer,
    )
    service.run()
    while True:
        time.sleep(60)


if __name__ == "__main__":
    if "--nodelay" in sys.argv:
        patch_sockets()
    main(int(sys.argv[1]), sys.argv[2])
