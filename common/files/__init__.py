"""Files from outside read without running what they say, and our own written whole or not at all."""
