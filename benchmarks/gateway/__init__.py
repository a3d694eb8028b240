"""What a gateway costs, and what replicas and workers behind it give."""
