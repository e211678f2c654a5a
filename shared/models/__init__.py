"""Connector, table, job, refresh run and schedule: plain typed data, as the API shows it and Firestore keeps it.

Times are aware UTC. Field names of the brief are kept. Every stored document carries `schema`.
"""

from shared.models._base import RESERVED_NAMES as RESERVED_NAMES
from shared.models._base import SCHEMA as SCHEMA
from shared.models._base import ErrorInfo as ErrorInfo
from shared.models._base import Name as Name
from shared.models._base import new_id as new_id
from shared.models._base import utc as utc
from shared.models.audit import AuditEntry as AuditEntry
from shared.models.audit import AuditPage as AuditPage
from shared.models.audit import AuditVerification as AuditVerification
from shared.models.connector import CheckResult as CheckResult
from shared.models.connector import Connector as Connector
from shared.models.connector import ConnectorPage as ConnectorPage
from shared.models.connector import TestAllResult as TestAllResult
from shared.models.connector import TestResult as TestResult
from shared.models.health import Health as Health
from shared.models.health import Ready as Ready
from shared.models.job import ExportRequest as ExportRequest
from shared.models.job import Job as Job
from shared.models.job import JobPage as JobPage
from shared.models.job import JobStatus as JobStatus
from shared.models.job import Mode as Mode
from shared.models.job import Phase as Phase
from shared.models.job import Progress as Progress
from shared.models.mapping import Breach as Breach
from shared.models.mapping import ColumnContract as ColumnContract
from shared.models.mapping import Contract as Contract
from shared.models.mapping import Drift as Drift
from shared.models.mapping import MappedColumn as MappedColumn
from shared.models.mapping import Mapping as Mapping
from shared.models.mapping import Others as Others
from shared.models.mapping import Reject as Reject
from shared.models.mapping import RejectPage as RejectPage
from shared.models.mapping import ReplayRequest as ReplayRequest
from shared.models.refresh import RefreshRequest as RefreshRequest
from shared.models.refresh import RefreshRun as RefreshRun
from shared.models.refresh import RefreshRunPage as RefreshRunPage
from shared.models.refresh import RunStatus as RunStatus
from shared.models.schedule import Schedule as Schedule
from shared.models.schedule import ScheduleAction as ScheduleAction
from shared.models.schedule import SchedulePage as SchedulePage
from shared.models.schedule import ScheduleRequest as ScheduleRequest
from shared.models.table import BigQuerySource as BigQuerySource
from shared.models.table import ExportFormat as ExportFormat
from shared.models.table import FirestoreSource as FirestoreSource
from shared.models.table import Source as Source
from shared.models.table import Table as Table
from shared.models.table import TableBody as TableBody
from shared.models.table import TablePage as TablePage
