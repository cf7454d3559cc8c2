"""Taxes: rates, and customers' tax ids."""
