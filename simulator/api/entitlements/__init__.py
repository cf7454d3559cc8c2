"""Entitlements: features, the products that include them, and what customers are entitled to."""
