"""A client of the API for Python programs and the shell: `Client(url)`, and `python -m shared.client --help`.

It talks HTTPS and imports nothing of the functions; it is never deployed with them.
"""

from shared.client.client import Client as Client
from shared.client.transport import ApiError as ApiError
