"""Other products that tracket-async works with, each behind an extra. Nothing of the core imports them."""
