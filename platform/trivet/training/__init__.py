"""From a fitted model to a registered version: columns, parity, golden rows, contract."""
