"""Quality: what temperature did to goods, and what becomes of them."""
