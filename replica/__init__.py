"""What is known of customers, prices and purchases, each stored in one place. Asks Stripe nothing by itself."""
