"""One machine's keeper. Knows the wishes for its machine and what runs there; must not know how the server decides."""
