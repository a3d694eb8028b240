"""Journeys that measure seconds: what runs beside them is bounded."""
