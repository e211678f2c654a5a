"""Validates traffic with the sandboxes against the vendors' own machine-readable contracts.

`schema` checks a value against a schema, closed: a member that is not documented is a finding. `contract` is one vendor's
operations, `loaders` reads them from Swagger 2, OpenAPI 3 and Google discovery documents, `exchange` checks one logged
exchange, `known` is the closed list of what vendors do beyond their contracts, with sources.

The contracts are other people's files and no part of the project: they are read from the folder that the environment
variable VENDOR_CONTRACTS names, by default `../shared/vendors/specs` beside the checkout. Without it the tests skip.
"""
