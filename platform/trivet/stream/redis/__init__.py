"""Redis Streams as the broker."""
