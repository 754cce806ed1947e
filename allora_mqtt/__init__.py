"""AlloraMind: trades HyperLiquid perpetuals on Allora Network predictions, steered and seen over MQTT."""

__version__ = "0.1.0"
