"""What a running service tells about itself, read from its metrics and drawn."""
