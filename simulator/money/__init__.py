"""Money that moves: PaymentIntents, charges, refunds, disputes, and the balance."""
