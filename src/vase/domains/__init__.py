"""Domains (what the data is), schedules (when) and streams (both)."""
