"""The bot's books in one file, and back: taken beside a running bot, restored where none runs."""

from allora_mqtt.backup.archive import ArchiveUnusable, Manifest
from allora_mqtt.backup.restoring import CannotRestore, Restored, restore
from allora_mqtt.backup.taking import CannotBackUp, Taken, default_name, take

__all__ = [
    "ArchiveUnusable",
    "CannotBackUp",
    "CannotRestore",
    "Manifest",
    "Restored",
    "Taken",
    "default_name",
    "restore",
    "take",
]
