"""What things cost: prices, amounts, currencies, usage."""
