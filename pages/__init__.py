"""The pages people see: words, amounts, states and offers, put into views. Asks neither Stripe nor who is there."""
