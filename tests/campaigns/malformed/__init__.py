"""Part `malformed`: a thousand damaged files and bombs, each in a process of its own."""
