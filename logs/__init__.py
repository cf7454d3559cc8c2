"""What is logged: one line a thing, with the facts it is about, and not the same thing over and over."""
