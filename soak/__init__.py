"""Promises that take long to show: each part runs in full here, and shortened in tests/."""
