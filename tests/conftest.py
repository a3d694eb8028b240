"""What holds for all tests."""

# Feast's first materialization in a process, and BentoML's import, tell prometheus_client to keep its
# numbers in files that processes share. It asks at its own import: after this one, tests count alone.
import prometheus_client  # noqa: F401
