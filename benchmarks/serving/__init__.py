"""Trivet beside other servers and beside the machine's limit: `make bench`."""
