"""The trio host: HTTP server, upstream calls, credentials, command line."""
