"""Image hosts: where generated pictures can be put for clients to link to."""
