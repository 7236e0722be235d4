"""Tests of the whole: the real application, the real rooms, the services around them."""
