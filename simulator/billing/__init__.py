"""What happens to money and subscriptions: billed, discounted, paid or declined, renewed, given up, canceled."""
