"""Every error code and what to know about it: the rows of README's table, which a test compares; `/problems/{code}` shows them."""

# ruff: noqa: E501 - one row of a table is one line

from __future__ import annotations

ROWS = """
| `address_not_allowed` | the host has an address that is not public; calls go to public addresses only |
| `answer_cut_off` | Power BI cut its answer off at its size limit; nothing can be verified from it |
| `answer_too_large` | what a host of a user's choice answered is over the limit in size |
| `append_not_exact` | sequence numbers do not work on this push table, so an append cannot be exactly once; ask for `delivery: at_least_once` or replace |
| `body_too_large` | the request body is over the limit; send a file instead of rows |
| `breaker_open` | the vendor failed too often in a row; calls pause until the time that is said |
| `cancelled` | somebody cancelled the job; the target is as it was |
| `cell_limit` | a cell, or the workbook, would pass a limit of Google Sheets |
| `chunk_changed` | a fault of ours: a frozen source did not read the same twice; report it with the job's id |
| `column_limit` | more columns than the target takes |
| `columns_invalid` | column names are missing, doubled or not allowed |
| `conflict` | the present state forbids the request |
| `connector_changed` | the connector leads elsewhere than when the job or the refresh was accepted; export or refresh again |
| `connector_changing` | somebody is changing or deleting the connector; the job goes on by itself |
| `content_in_the_way` | other people's cells lie where new rows would go |
| `content_overwritten` | the rows are live, and cells went that somebody filled at that very moment; they are in the version history |
| `contract_broken` | a value breaks a rule of the contract, or the columns drifted where it freezes them; the message names them |
| `credential_denied` | the function may not read the secret |
| `credential_missing` | the secret version is gone or disabled; register the credentials again |
| `credential_refused` | the vendor refused the credential or its rights |
| `encoding_invalid` | the file is not in the encoding that was said |
| `files_drift` | a file has other columns or types than the first of its source; the message names it |
| `link_expired` | the link to a kept file is 10 minutes old, or was never made; make a new one (`:linkFile`) |
| `file_not_found` | the job keeps no file; export with `export_format` |
| `forbidden` | the identity lacks the role |
| `formula_in_the_way` | a formula lies where rows would go |
| `function_unreachable` | a function gives no answer to the gateway in front of it; the message says which, its log why |
| `header_drift` | the sheet's header is not the one that the rows have |
| `host_not_allowed` | the host is not on the administrator's list: WAREHOUSE_HOSTS, LOOKER_HOSTS, NOTICE_HOSTS |
| `idempotency_key_reused` | the Idempotency-Key was used with another body |
| `if_match_required` | send If-Match with the ETag that you read |
| `illegal_transition` | a fault of ours: a job in an impossible state |
| `in_use` | jobs run or schedules point at the connector; wait, or use `?force=true` |
| `internal` | a fault of ours; report it with the request id |
| `invalid_request` | the request is not of the documented form; `field` says where |
| `job_ended` | the job has ended; there is nothing to cancel |
| `job_publishing` | the job is publishing and cannot be cancelled any more |
| `job_running` | the job has not ended; cancel it first |
| `key_column` | the key of an upsert names a column that is not there |
| `key_empty` | a key of an upsert is empty |
| `key_twice` | a key of an upsert is there twice |
| `mapping_invalid` | the mapping or the contract is malformed, or names what the rows do not have; `field` and `column` say where |
| `metadata_limit` | the tab holds as much developer metadata as it can |
| `method_not_allowed` | the path takes other methods, see `Allow` |
| `mode_unsupported` | the kind cannot do this mode; the message says which it can |
| `name_taken` | the connector exists with another configuration or other credentials |
| `name_too_long` | a name is longer than the vendor takes |
| `no_columns` | the table has no columns |
| `not_a_grid` | the tab is a chart or the like, not a grid of cells |
| `not_found` | the named thing does not exist |
| `not_json` | send `Content-Type: application/json` |
| `nothing_rejected` | the job discarded no row, so there is nothing to replay |
| `other_function` | another function answers this path; `url` is where |
| `outcome_unknown` | the rows were sent, and for a day the target gave no answer about them; look at it before you export again |
| `own_collection` | the collection is this service's own and no source |
| `precondition_failed` | it changed since you read it; read again |
| `queries_not_allowed` | no administrator allowed SQL that runs in BigQuery |
| `query_refused` | BigQuery refused the query or could not export; the message has its reason |
| `query_too_expensive` | a dry run says that the query would read more than the limit; nothing was billed |
| `quota_wait` | our share of the vendor's quota is used up until the time that is said; the job goes on by itself |
| `range_changed` | people edited what was exported to a tab so that it cannot be told what of it is whose; undo the edit, or delete the tab once |
| `read_time_too_old` | Firestore does not keep the moment that the job reads at any more |
| `receiver_refused` | who a channel leads to refused the notice for good; mend the receiver, or put the channel with its present URL and secret |
| `redirected` | a host of a user's choice answered with a redirect; name the final address |
| `refresh_cancelled` | the refresh was cancelled, by request or at the vendor |
| `refresh_failed` | the vendor ended the refresh badly; the message is the vendor's reason |
| `refresh_not_seen` | the vendor accepted the refresh and did not show it in its history for an hour, or for `timeout` if that is shorter |
| `refresh_quota` | the vendor's number of refreshes a day is used up, or a schedule asks for more |
| `refresh_running` | another refresh is running at the vendor |
| `refresh_timeout` | the vendor did not end the refresh within `timeout`, 26 hours by default, or ended it itself because the vendor's own limit of time was over |
| `refresh_unsupported` | the connector has nothing to refresh; use the action `export_and_refresh`, or name what to refresh |
| `rejected` | somebody rejected the held job; the target is as it was |
| `repair_impossible` | a push table stays incomplete: what it held cannot be put together from rows that are kept; export it again |
| `replayed` | these rejects are replayed by another job already; both would deliver them twice |
| `retried` | a retry of the job is under way or has delivered its rows; a second one would deliver them twice |
| `route_not_found` | there is no such path; see /openapi.json |
| `row_invalid` | a row is not an object, or holds what JSON has no form for |
| `row_ragged` | a line has another number of cells than the header |
| `restoring` | this service's documents are being restored from a backup; ask again in a minute |
| `rows_erased` | the rows that the job froze are not kept any more; export again |
| `rows_in_use` | another job starts from these rows and has not ended; cancel it, or wait until it has |
| `run_ended` | the refresh run has ended; there is nothing to cancel |
| `scheduler_unavailable` | Cloud Scheduler gave no answer; the schedule is kept and told later |
| `schema_drift` | the columns or types are not those of the target's table |
| `schema_invalid` | declared column types are not valid, or name columns that are not there |
| `sequence_numbers_lost` | Power BI stopped keeping sequence numbers; nothing more is sent |
| `sheet_missing` | the workbook has no sheet of that name |
| `side_effects` | a trigger, rule, foreign key, child table or row security of the table would change other rows than those delivered; the message names it |
| `signing_refused` | IAM did not let this function's service account sign a URL; grant it iam.serviceAccounts.signBlob on itself |
| `signing_unavailable` | this function runs as no service account, as on a laptop, so nobody can sign for it; leave out `signed=true` |
| `source_changed` | the file changed after the export was accepted; export again |
| `source_damaged` | the file is truncated or corrupt |
| `source_exporting` | BigQuery is still exporting; the job goes on by itself |
| `source_forbidden` | the worker may not read the bucket, table or collection |
| `source_format` | the file is not of the format that its name or request says |
| `source_gone` | the frozen generation is gone; export again |
| `source_invalid` | the data is not of its declared form |
| `source_not_found` | the file, table or dataset does not exist |
| `source_too_large` | the file is over a limit; the message says which |
| `spreadsheet_not_found` | the spreadsheet does not exist or is not shared with the service account |
| `sql_limit` | the SQL of a mapping takes too much memory or time |
| `staging_gone` | staging at the target was removed while the job ran |
| `superseded` | a job accepted later has published to this target; force the approval if you want the older rows |
| `tab_limit` | the spreadsheet has as many tabs as it can hold |
| `table_not_found` | `table_name` is not registered and no file of that name exists |
| `table_unfinished` | an earlier job left the push table unfinished; replace the table first, or accept `delivery: at_least_once` |
| `target_busy` | another process holds the target; it is tried again |
| `target_changed` | the target changed while the job ran |
| `target_refused` | the vendor refused the data or the place |
| `too_scattered` | the rows of an upsert lie in too many separate places; sort the source by the key, or replace |
| `too_many_channels` | there are 20 channels, the most there can be; delete one first |
| `too_many_rejects` | more was left out than `max_rejects` allows; the rejects say what and why |
| `type_not_supported` | the target has no type for a column |
| `types_mixed` | a column holds values of several types; declare its type |
| `unauthenticated` | send a Google-signed ID token |
| `unsupported` | the target cannot do this |
| `url_not_allowed` | the URL is not of the form https://host name/…; addresses and user names are not called |
| `value_invalid` | a value is not of its column's type |
| `value_not_exact` | the target cannot hold a value unchanged |
| `vendor_unavailable` | the vendor throttles or fails |
| `vendor_unreachable` | the vendor gave no answer |
| `verification_failed` | what was read back is not what was sent; nothing was published |
| `warehouse_unreachable` | the warehouse gave no connection |
| `worker_died` | the worker stopped several times at the same place |
| `worksheet_title` | the worksheet title is not allowed |
| `wrong_state` | the job is not in a state for this |
"""


def meanings() -> dict[str, str]:
    """Return what to know about each code, by code."""
    cells = (row.strip("|").split("|", 1) for row in ROWS.strip().splitlines())
    return {code.strip().strip("`"): text.strip() for code, text in cells}
