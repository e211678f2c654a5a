"""What the Sheets API takes and gives, member by member: the one description that requests, query parameters and masks are read by.

One line a message (indented lines go on): `Name: member Type; member Type`. A Type is `str`, `int` (32 bits), `double`,
`bool`, `any` (not looked into), `rows` (lists of lists of scalars), `mask=Name` (a field mask over that message), `[Type]`
(repeated), or a message or enum. `Name(union): …` tells a message of which one member may be set; `Name(union a b): …` names
the members it is about. `!member` and `!VALUE`: Google has it and the sandbox does not imitate it. Such a member may be sent
with its default value, which changes nothing; else the answer is 501 with its name. From the discovery document of the API
(names and types) and the reference (unions).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

_ENUMS = """
Dimension: ROWS COLUMNS
SheetType: GRID !OBJECT !DATA_SOURCE
ThemeColorType: TEXT BACKGROUND ACCENT1 ACCENT2 ACCENT3 ACCENT4 ACCENT5 ACCENT6 LINK
RecalculationInterval: ON_CHANGE MINUTE HOUR
HorizontalAlign: LEFT CENTER RIGHT
VerticalAlign: TOP MIDDLE BOTTOM
WrapStrategy: OVERFLOW_CELL LEGACY_WRAP CLIP WRAP
TextDirection: LEFT_TO_RIGHT RIGHT_TO_LEFT
HyperlinkDisplayType: LINKED PLAIN_TEXT
BorderStyle: DOTTED DASHED SOLID SOLID_MEDIUM SOLID_THICK NONE DOUBLE
NumberFormatType: TEXT NUMBER PERCENT CURRENCY DATE TIME DATE_TIME SCIENTIFIC
PasteType: PASTE_NORMAL PASTE_VALUES PASTE_FORMAT !PASTE_NO_BORDERS !PASTE_FORMULA !PASTE_DATA_VALIDATION
    !PASTE_CONDITIONAL_FORMATTING
PasteOrientation: NORMAL !TRANSPOSE
Visibility: DOCUMENT PROJECT
LocationType: ROW COLUMN SHEET SPREADSHEET
MatchingStrategy: EXACT_LOCATION INTERSECTING_LOCATION
ValueRenderOption: FORMATTED_VALUE UNFORMATTED_VALUE FORMULA
DateTimeRenderOption: SERIAL_NUMBER FORMATTED_STRING
ValueInputOption: RAW USER_ENTERED
InsertDataOption: OVERWRITE INSERT_ROWS
CommentsViewMode: COMMENTS_VIEW_MODE_DEFAULT_FOR_CURRENT_ACCESS COMMENTS_VIEW_MODE_OMITTED COMMENTS_VIEW_MODE_INCLUDED
Alt: json !media !proto
Locale: en_US !*
"""

_MESSAGES = """
BatchUpdateSpreadsheetRequest: requests [Request]; includeSpreadsheetInResponse bool; responseRanges [str];
    responseIncludeGridData bool; !commentsViewMode any
AddSheetRequest: properties SheetProperties
DeleteSheetRequest: sheetId int
UpdateSheetPropertiesRequest: properties SheetProperties; fields mask=SheetProperties
UpdateSpreadsheetPropertiesRequest: properties SpreadsheetProperties; fields mask=SpreadsheetProperties
AppendDimensionRequest: sheetId int; dimension Dimension; length int
InsertDimensionRequest: range DimensionRange; !inheritFromBefore bool
DeleteDimensionRequest: range DimensionRange
CopyPasteRequest: source GridRange; destination GridRange; pasteType PasteType; pasteOrientation PasteOrientation
RepeatCellRequest: range GridRange; cell CellData; fields mask=CellData
UpdateCellsRequest(area start range): rows [RowData]; fields mask=CellData; start GridCoordinate; range GridRange
FindReplaceRequest(scope range sheetId allSheets): find str; replacement str; matchCase bool; matchEntireCell bool;
    searchByRegex bool; includeFormulas bool; range GridRange; !sheetId int; !allSheets bool
AppendCellsRequest: sheetId int; rows [RowData]; fields mask=CellData; !tableId str
CreateDeveloperMetadataRequest: developerMetadata DeveloperMetadata
UpdateDeveloperMetadataRequest: dataFilters [DataFilter]; developerMetadata DeveloperMetadata;
    fields mask=DeveloperMetadata
DeleteDeveloperMetadataRequest: dataFilter DataFilter
SheetProperties: sheetId int; title str; index int; sheetType SheetType; gridProperties GridProperties; hidden bool;
    tabColor Color; tabColorStyle ColorStyle; rightToLeft bool; !dataSourceSheetProperties any
GridProperties: rowCount int; columnCount int; frozenRowCount int; frozenColumnCount int; hideGridlines bool;
    rowGroupControlAfter bool; columnGroupControlAfter bool
Color: red double; green double; blue double; alpha double
ColorStyle(kind): rgbColor Color; themeColor ThemeColorType
SpreadsheetProperties: title str; locale Locale; autoRecalc RecalculationInterval; timeZone str;
    !defaultFormat CellFormat; iterativeCalculationSettings IterativeCalculationSettings;
    spreadsheetTheme SpreadsheetTheme; importFunctionsExternalUrlAccessAllowed bool
IterativeCalculationSettings: maxIterations int; convergenceThreshold double
SpreadsheetTheme: primaryFontFamily str; themeColors [ThemeColorPair]
ThemeColorPair: colorType ThemeColorType; color ColorStyle
DimensionRange: sheetId int; dimension Dimension; startIndex int; endIndex int
GridRange: sheetId int; startRowIndex int; endRowIndex int; startColumnIndex int; endColumnIndex int
GridCoordinate: sheetId int; rowIndex int; columnIndex int
RowData: values [CellData]
CellData: userEnteredValue ExtendedValue; userEnteredFormat CellFormat; !effectiveValue ExtendedValue;
    !formattedValue str; !effectiveFormat CellFormat; !hyperlink str; !note str; !textFormatRuns any;
    !dataValidation any; !pivotTable any; !dataSourceTable any; !dataSourceFormula any; !chipRuns any
ExtendedValue(value): numberValue double; stringValue str; boolValue bool; formulaValue str; !errorValue any
CellFormat: numberFormat NumberFormat; backgroundColor Color; backgroundColorStyle ColorStyle; borders Borders;
    padding Padding; horizontalAlignment HorizontalAlign; verticalAlignment VerticalAlign; wrapStrategy WrapStrategy;
    textDirection TextDirection; textFormat TextFormat; hyperlinkDisplayType HyperlinkDisplayType;
    textRotation TextRotation
NumberFormat: type NumberFormatType; pattern str
Borders: top Border; bottom Border; left Border; right Border
Border: style BorderStyle; width int; color Color; colorStyle ColorStyle
Padding: top int; right int; bottom int; left int
TextFormat: foregroundColor Color; foregroundColorStyle ColorStyle; fontFamily str; fontSize int; bold bool;
    italic bool; strikethrough bool; underline bool; link Link
Link: uri str
TextRotation(type): angle int; vertical bool
DeveloperMetadata: metadataId int; metadataKey str; metadataValue str; location DeveloperMetadataLocation;
    visibility Visibility
DeveloperMetadataLocation(location spreadsheet sheetId dimensionRange): locationType LocationType; spreadsheet bool;
    sheetId int; dimensionRange DimensionRange
DataFilter(filter): developerMetadataLookup DeveloperMetadataLookup; !a1Range str; !gridRange GridRange
DeveloperMetadataLookup: metadataId int; metadataKey str; metadataValue str; visibility Visibility;
    locationType LocationType; metadataLocation LookupLocation; locationMatchingStrategy MatchingStrategy
LookupLocation(location spreadsheet sheetId dimensionRange): locationType LocationType; spreadsheet bool; sheetId int;
    dimensionRange DimensionRange
SearchDeveloperMetadataRequest: dataFilters [DataFilter]
ValueRange: range str; majorDimension Dimension; values rows
BatchUpdateValuesRequest: valueInputOption ValueInputOption; data [ValueRange]; includeValuesInResponse bool;
    responseValueRenderOption ValueRenderOption; responseDateTimeRenderOption DateTimeRenderOption
BatchClearValuesRequest: ranges [str]
ClearValuesRequest:
CommonQuery: alt Alt; fields str; key str; prettyPrint bool; uploadType str; upload_protocol str; $.xgafv str;
    !callback str; !access_token str; !oauth_token str; !quotaUser str
NoQuery:
GetQuery: ranges [str]; includeGridData bool; excludeTablesInBandedRanges bool; commentsViewMode CommentsViewMode
ReadQuery: majorDimension Dimension; valueRenderOption ValueRenderOption; dateTimeRenderOption DateTimeRenderOption
BatchReadQuery: ranges [str]; majorDimension Dimension; valueRenderOption ValueRenderOption;
    dateTimeRenderOption DateTimeRenderOption
UpdateQuery: valueInputOption ValueInputOption; includeValuesInResponse bool;
    responseValueRenderOption ValueRenderOption; responseDateTimeRenderOption DateTimeRenderOption
AppendQuery: valueInputOption ValueInputOption; insertDataOption InsertDataOption; includeValuesInResponse bool;
    responseValueRenderOption ValueRenderOption; responseDateTimeRenderOption DateTimeRenderOption
Spreadsheet: spreadsheetId str; properties SpreadsheetProperties; sheets [Sheet]; namedRanges any; spreadsheetUrl str;
    developerMetadata [DeveloperMetadata]; dataSources any; dataSourceSchedules any; comments any;
    commentsViewMode str
Sheet: properties SheetProperties; data [GridData]; merges any; conditionalFormats any; filterViews any;
    protectedRanges any; basicFilter any; charts any; bandedRanges any; developerMetadata [DeveloperMetadata];
    rowGroups any; columnGroups any; slicers any; tables any; commentAnchors any
GridData: startRow int; startColumn int; rowData [RowData]; rowMetadata [DimensionProperties];
    columnMetadata [DimensionProperties]
DimensionProperties: hiddenByFilter bool; hiddenByUser bool; pixelSize int; developerMetadata [DeveloperMetadata];
    dataSourceColumnReference any
BatchUpdateSpreadsheetResponse: spreadsheetId str; replies any; updatedSpreadsheet Spreadsheet;
    commentUpdateState any
UpdateValuesResponse: spreadsheetId str; updatedRange str; updatedRows int; updatedColumns int; updatedCells int;
    updatedData ValueRange
AppendValuesResponse: spreadsheetId str; tableRange str; updates UpdateValuesResponse
ClearValuesResponse: spreadsheetId str; clearedRange str
BatchGetValuesResponse: spreadsheetId str; valueRanges [ValueRange]
BatchUpdateValuesResponse: spreadsheetId str; totalUpdatedRows int; totalUpdatedColumns int; totalUpdatedCells int;
    totalUpdatedSheets int; responses [UpdateValuesResponse]
BatchClearValuesResponse: spreadsheetId str; clearedRanges [str]
SearchDeveloperMetadataResponse: matchedDeveloperMetadata [MatchedDeveloperMetadata]
MatchedDeveloperMetadata: developerMetadata DeveloperMetadata; dataFilters [DataFilter]
"""

_IMITATED_REQUESTS = """
addSheet deleteSheet updateSheetProperties updateSpreadsheetProperties appendDimension insertDimension deleteDimension
copyPaste repeatCell updateCells appendCells findReplace createDeveloperMetadata updateDeveloperMetadata deleteDeveloperMetadata
"""
_OTHER_REQUESTS = """
addBanding addChart addCommentReply addConditionalFormatRule addDataSource addDimensionGroup addFilterView addNamedRange
addProtectedRange addSlicer addTable autoFill autoResizeDimensions cancelDataSourceRefresh clearBasicFilter cutPaste
deleteBanding deleteComment deleteCommentReply deleteConditionalFormatRule deleteDataSource deleteDimensionGroup
deleteDuplicates deleteEmbeddedObject deleteFilterView deleteNamedRange deleteProtectedRange deleteRange deleteTable
duplicateFilterView duplicateSheet insertComment insertRange mergeCells moveDimension pasteData randomizeRange
refreshDataSource setBasicFilter setDataValidation sortRange textToColumns trimWhitespace unmergeCells updateBanding
updateBorders updateChartSpec updateCommentPost updateConditionalFormatRule updateDataSource updateDimensionGroup
updateDimensionProperties updateEmbeddedObjectBorder updateEmbeddedObjectPosition updateFilterView updateNamedRange
updateProtectedRange updateSlicerSpec updateTable
"""


@dataclass(frozen=True)
class Member:
    """One member of a message; `mask_of` names the message that a mask is about."""

    name: str
    type: str
    is_repeated: bool = False
    is_imitated: bool = True
    mask_of: str = ""


@dataclass(frozen=True)
class Message:
    """Members by every name that Google takes: in camel case, and as in the protocol buffer; `oneof` is the union's name."""

    name: str
    members: Mapping[str, Member]
    oneof: str = ""
    oneof_members: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Enum:
    """The values of an enum but the one that means unset; a `*` among those not imitated is any other text."""

    imitated: frozenset[str]
    not_imitated: frozenset[str]


@functools.cache
def snake(name: str) -> str:
    """A member's name in the protocol buffer: `addSheet` is `add_sheet`, `a1Range` is `a1_range`."""
    return re.sub(r"([A-Z])", lambda found: "_" + found[1].lower(), name)


def _lines(text: str) -> list[str]:
    return re.sub(r"\n +", " ", text.strip()).splitlines()


def _member(text: str) -> Member:
    name, kind = text.split(" ")
    imitated, repeated = not name.startswith("!"), kind.startswith("[")
    kind, _, mask_of = kind.strip("[]").partition("=")
    return Member(name.lstrip("!"), kind, repeated, imitated, mask_of)


def _message(line: str) -> Message:
    head, _, rest = line.partition(":")
    name, _, union = head.rstrip(")").partition("(")
    members = [_member(text.strip()) for text in rest.split(";") if text.strip()]
    oneof, *named = union.split(" ")
    return Message(name, _by_name(members), oneof, frozenset(named or (member.name for member in members)))


def _by_name(members: list[Member]) -> dict[str, Member]:
    return {snake(member.name): member for member in members} | {member.name: member for member in members}


def _request() -> Message:
    known = [Member(name, name[0].upper() + name[1:] + "Request") for name in _IMITATED_REQUESTS.split()]
    other = [Member(name, "any", is_imitated=False) for name in _OTHER_REQUESTS.split()]
    return Message("Request", _by_name(known + other), "kind", frozenset(one.name for one in known + other))


def _enum(line: str) -> tuple[str, Enum]:
    name, _, values = line.partition(": ")
    other = frozenset(value[1:] for value in values.split() if value.startswith("!"))
    return name, Enum(frozenset(values.split()) - {f"!{value}" for value in other}, other)


ENUMS: Mapping[str, Enum] = dict(map(_enum, _lines(_ENUMS)))
MESSAGES: Mapping[str, Message] = {message.name: message for message in (*map(_message, _lines(_MESSAGES)), _request())}
