"""Prices beside /v1/prices: plans, meters, and meter events."""
