"""What others would write: services that turn the same lines into the same chunks, and no more."""
