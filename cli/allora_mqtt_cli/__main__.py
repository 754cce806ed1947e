"""`python -m allora_mqtt_cli` is `allora-mqtt`."""

import sys

from allora_mqtt_cli.main import main

sys.exit(main())
