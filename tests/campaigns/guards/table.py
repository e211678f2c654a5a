"""All guards."""

from __future__ import annotations

from tests.campaigns.guards.access import ACCESS, CONTRACT
from tests.campaigns.guards.audited import ENTRIES
from tests.campaigns.guards.backups import BACKUPS
from tests.campaigns.guards.calls import CALLS, NAMES, PLACES
from tests.campaigns.guards.data import BOUNDS, FORMULAS
from tests.campaigns.guards.forms import FORMS
from tests.campaigns.guards.front import FRONTS
from tests.campaigns.guards.notices import NOTICES
from tests.campaigns.guards.pages import PAGES, SUPPLY
from tests.campaigns.guards.secrets import AUDITED, SECRETS
from tests.campaigns.guards.sql import SQL
from tests.campaigns.guards.use import USES
from tests.campaigns.guards.ways import WAYS

GUARDS = (
    *CONTRACT,
    *ACCESS,
    *FRONTS,
    *SECRETS,
    *BACKUPS,
    *AUDITED,
    *ENTRIES,
    *CALLS,
    *NOTICES,
    *NAMES,
    *PLACES,
    *FORMS,
    *PAGES,
    *SUPPLY,
    *USES,
    *SQL,
    *BOUNDS,
    *FORMULAS,
    *WAYS,
)
