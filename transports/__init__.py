"""Hosts of the core: the server on trio, ASGI, WSGI, in process; and all that they are made of.

From the bottom up, each knows those above it only:

* `loops`: what tasks and threads wait with, and sockets.
* `server`: HTTP/1.1 for clients, by h11. `upstream`: calls to the far ends, by httpcore.
* `pool`: who may use which account when, and what is kept of it. `pictures`: fetching, keeping.
* `config` and what reads it.
* `api`: which request is answered how.
* `driving`: carrying out what an exchange commands.
* `standalone`, `asgi`, `threaded`, `inprocess`: the hosts.
* `cli` and `commands`: the command line.

`simulator` is a stand-in for the far ends, and `conform` a check of anybody's server.
"""
