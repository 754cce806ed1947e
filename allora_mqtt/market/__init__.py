"""What is known of the outside: HyperLiquid, Allora, the catalog, prices, precision."""
