"""What those who work on Pricetime run; nothing of it is installed."""
