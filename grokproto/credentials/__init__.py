"""Which account a call is made with."""
