"""The sole matcher: order book and engine (pure), and the commit loop around them."""
