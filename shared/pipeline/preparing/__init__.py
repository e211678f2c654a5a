"""What is made of frozen rows before they are delivered: SQL, mapping, contract, rejects.

`prepare` (in `prepare.py`) is what the engine calls; `checks` is what the services call, without pyarrow, when a request comes.
"""
