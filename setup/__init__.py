"""What the settings and plans.toml want at Stripe: products, prices, meters, the portal, the webhook endpoint."""
