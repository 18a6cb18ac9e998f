"""What is said to Grok, and by Grok."""
