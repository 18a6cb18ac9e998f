"""HTTP/1.1 for clients, by h11: listening, connections, requests as handlers get them."""
