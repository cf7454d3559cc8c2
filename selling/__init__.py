"""What is sold: Checkout, the portal."""
