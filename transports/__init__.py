"""Hosts of the core: the server on trio, ASGI, WSGI, in process; and all that they are made of."""
