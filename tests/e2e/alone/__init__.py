"""Journeys that measure seconds: no other test runs meanwhile."""
