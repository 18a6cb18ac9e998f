"""The API: which request is answered how, whatever serves it. No I/O, and no event loop."""
