"""The server by itself, on trio: `grokproto serve`, in one process or more."""
