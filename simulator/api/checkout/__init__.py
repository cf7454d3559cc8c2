"""What a Checkout Session sells and asks, and payment links, which open sessions."""
