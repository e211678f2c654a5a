"""Guards of incoming data: bounds while streaming, and text that a spreadsheet would run."""

from __future__ import annotations

from tests.campaigns.guards.access import DISPATCH
from tests.campaigns.guards.guard import Guard

INTAKE, WORKBOOK, WRITER, DELIMITED, FORMULA = (
    "shared/pipeline/formats/intake.py",
    "shared/pipeline/formats/workbook.py",
    "shared/pipeline/formats/spreadsheet_writer.py",
    "shared/pipeline/formats/delimited.py",
    "shared/pipeline/formats/formulas.py",
)
_LIMITS, _BOUNDS = (
    "tests/unit/pipeline/formats/test_damage.py::test_limits_hold_in_every_streaming_format",
    "tests/unit/pipeline/formats/test_bounds.py::",
)
_DOCTYPE = "tests/unit/pipeline/formats/test_spreadsheet.py::test_a_document_type_is_refused"
_YAML, _WRITERS = (
    "tests/functional/test_apply.py::test_other_yaml_is_refused_with_its_place",
    "tests/unit/pipeline/formats/test_writers.py::",
)

BOUNDS = (
    Guard(
        "a body is bounded",
        DISPATCH,
        "if len(raw) > route.max_body_bytes:",
        "if False:",
        "tests/functional/test_edge.py::test_a_body_over_the_limit_is_413",
    ),
    Guard(
        "a body is not read past its bound",
        DISPATCH,
        "request.stream.read(route.max_body_bytes + 1)",
        "request.stream.read()",
        "tests/functional/test_edge.py::test_a_body_is_not_read_past_its_bound",
    ),
    Guard("a source's rows are bounded", INTAKE, "if self.rows > options.max_rows:", "if False:", _LIMITS),
    Guard("a source's bytes are bounded", INTAKE, "if self.bytes > options.max_decoded_bytes:", "if False:", _LIMITS),
    Guard(
        "a source's cells are bounded",
        INTAKE,
        "if most is None or most <= options.max_cell_chars:",
        "if True:",
        _LIMITS,
    ),
    Guard(
        "a source's columns are bounded",
        "shared/pipeline/formats/column_types.py",
        "if len(names) > options.max_columns:",
        "if False:",
        _LIMITS,
    ),
    Guard(
        "compressed text is bounded",
        INTAKE,
        "if self._count > _MAX_UNPACKED_RATIO * self.size_bytes + _FREE_UNPACKED_BYTES:",
        "if False:",
        _BOUNDS + "test_text_that_unpacks_to_too_many_times_its_size_is_refused",
    ),
    Guard(
        "a workbook's parts are bounded",
        WORKBOOK,
        "if len(parts) > _MAX_PARTS or unpacked",
        "if unpacked",
        _BOUNDS + "test_a_workbook_of_too_many_parts_is_refused",
    ),
    Guard(
        "a workbook's size is bounded",
        WORKBOOK,
        " or unpacked > _MAX_UNPACKED_BYTES:",
        ":",
        _BOUNDS + "test_a_workbook_that_claims_to_unpack_to_too_much_is_refused",
    ),
    Guard(
        "a workbook's parts are read within a bound",
        WORKBOOK,
        "if len(data) > _MAX_PART_BYTES:",
        "if False:",
        _BOUNDS + "test_a_part_that_is_read_whole_has_a_bound_of_its_own",
    ),
    Guard(
        "a workbook's texts are bounded",
        WORKBOOK,
        "if self._chars > _MAX_SHARED_CHARS:",
        "if False:",
        _BOUNDS + "test_the_texts_of_a_workbook_are_bounded",
    ),
    Guard(
        "a small part of a workbook has no document type",
        WORKBOOK,
        "ElementTree.fromstring(data, forbid_dtd=True)",
        "__import__('xml.etree.ElementTree').etree.ElementTree.fromstring(data)",
        _DOCTYPE,
    ),
    Guard(
        "a sheet has no document type",
        WORKBOOK,
        "    parser.StartDoctypeDeclHandler = _refuse_doctype\n",
        "",
        _DOCTYPE,
    ),
    Guard(
        "the files of a source are bounded",
        "shared/services/sources.py",
        "if len(found) > MAX_FILES:",
        "if False:",
        "tests/functional/test_sources.py::test_more_files_than_the_limit_are_refused",
    ),
    Guard(
        "the source of SQL is bounded",
        "shared/pipeline/preparing/sql.py",
        "if path.stat().st_size > MAX_SOURCE_BYTES:",
        "if False:",
        "tests/unit/pipeline/preparing/test_sql.py::test_a_source_too_large_for_the_disk_is_refused",
    ),
    Guard(
        "YAML has no aliases", "shared/api/yaml_body.py", "if self.check_event(yaml.AliasEvent):", "if False:", _YAML
    ),
    Guard(
        "YAML makes values only",
        "shared/api/yaml_body.py",
        "class _Loader(yaml.SafeLoader):",
        "class _Loader(yaml.UnsafeLoader):",
        _YAML,
    ),
    Guard("YAML has no key twice", "shared/api/yaml_body.py", "if times > 1:", "if False:", _YAML),
)

FORMULAS = (
    Guard(
        "Google Sheets takes text as text",
        "shared/connectors/google_sheets/client.py",
        '"valueInputOption": "RAW"',
        '"valueInputOption": "USER_ENTERED"',
        "tests/conformance/connectors/test_google_sheets.py::test_new_tab_holds_header_and_rows_with_their_types",
    ),
    Guard(
        "CSV has no formula in a cell",
        DELIMITED,
        "return pc.if_else(is_formula, pc.binary_join_element_wise(_APOSTROPHE, values, EMPTY), values)",
        "return values",
        _WRITERS + "test_text_that_looks_like_a_formula_is_made_safe_and_comes_back",
    ),
    Guard(
        "CSV has no formula in its header",
        DELIMITED,
        """return "'" + name if is_formula(name) else name""",
        "return name",
        _WRITERS + "test_text_that_looks_like_a_formula_is_made_safe_and_comes_back",
    ),
    Guard(
        "XLSX has no formula in a cell",
        WRITER,
        'cast("_Write", sheet.write_string)',
        'cast("_Write", sheet.write)',
        _WRITERS + "test_xlsx_text_is_never_a_formula_or_a_link",
    ),
    Guard(
        "XLSX has no formula in a cell that looks like one",
        WRITER,
        "lambda row, column, value: sheet.write_string(",
        "lambda row, column, value: sheet.write(",
        _WRITERS + "test_xlsx_text_is_never_a_formula_or_a_link",
    ),
    Guard(
        "XLSX marks text that looks like a formula",
        WRITER,
        "formats[STRING] if value in texts else None",
        "None",
        _WRITERS + "test_xlsx_text_that_looks_like_a_formula_is_marked_as_text_and_comes_back_as_it_is",
    ),
    Guard(
        "nothing unseen hides a formula",
        FORMULA,
        r"""rf"(?:[\t\r]|{_UNSEEN}*[""",
        r"""rf"(?:[\t\r]|[""",
        _WRITERS + "test_no_text_hides_a_formula_in_csv",
    ),
    Guard(
        "full-width signs begin a formula",
        FORMULA,
        r"\x{{FF1D}}\x{{FF0B}}\x{{FF0D}}\x{{FF20}}",
        "",
        _WRITERS + "test_no_text_hides_a_formula_in_csv",
    ),
    Guard(
        "XLSX has no formula in its header",
        WRITER,
        "sheet.write_string(0, index, name, formats",
        "sheet.write(0, index, name, formats",
        _WRITERS + "test_xlsx_text_is_never_a_formula_or_a_link",
    ),
)
