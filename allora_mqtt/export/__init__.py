"""The books as files: read from the database beside a running bot, or without one."""

from allora_mqtt.export.exporting import CannotExport, Export, export
from allora_mqtt.export.records import RECORDS

__all__ = ["RECORDS", "CannotExport", "Export", "export"]
