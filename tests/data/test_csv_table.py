"""Every way a table can look right and be wrong: found with file, line and column, by every reader of tables."""

import codecs
import csv
import logging

import pytest

from epicsub.data.annotations import read_ids, read_segments, read_skip_list, read_video_info
from epicsub.data.csv_table import read_csv
from epicsub.errors import DataError, ValidationError
from epicsub.io.files import read_text
from epicsub.validation.protocol import SegmentList
from epicsub.validation.tables import read_labels, read_table

HEAD = (
    "narration_id,participant_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame,verb_class,noun_class"
)
ROWS = [
    "P01_101_0,P01,P01_101,00:00:00.00,00:00:01.00,0,50,1,2",
    "P01_101_1,P01,P01_101,00:00:01.50,00:00:02.00,75,100,3,4",
    "P02_05_0,P02,P02_05,00:00:00.00,00:00:01.00,0,60,5,6",
]
GOOD = "\n".join([HEAD, *ROWS]) + "\n"


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "list.csv"

    def write(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF8 + GOOD.encode(),
        GOOD.encode("utf-16"),
        codecs.BOM_UTF16_BE + GOOD.encode("utf-16-be"),
        GOOD.encode("utf-32"),
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\n", "\r"),
        GOOD.replace("\n", "\n\n"),
        GOOD.rstrip("\n"),
        "\n".join('"' + '","'.join(line.split(",")) + '"' for line in GOOD.splitlines()),
        GOOD.replace(HEAD, HEAD + ",narration").replace(",2\n", ',2,"take, ""gently"""\n').replace(",4\n", ",4,é\n")
        .replace(",6\n", ",6,\n"),
        "\n".join(f",{line}," for line in GOOD.splitlines()),
    ],
    ids=["bom", "utf16", "utf16_be", "utf32", "crlf", "cr", "empty_lines", "no_last_end", "quoted", "more", "no_names"],
)  # fmt: skip
def test_other_ways_to_write_the_same_table(table, content):
    path = table(content)
    segments = read_segments(path)
    assert [segment.narration_id for segment in segments] == ["P01_101_0", "P01_101_1", "P02_05_0"]
    assert [(segment.stop, segment.verb_class) for segment in segments] == [(1.0, 1), (2.0, 3), (1.0, 5)]
    assert read_labels(path.parent, SegmentList(list=path.name, count=3))["noun_class"].tolist() == [2, 4, 6]


@pytest.mark.parametrize(
    ("character", "name"),
    [
        ("\u00a0", "no-break space (U+00A0)"),
        ("\u200b", "zero width space (U+200B)"),
        ("\ufeff", "zero width no-break space (U+FEFF)"),
        ("\u00ad", "soft hyphen (U+00AD)"),
        ("\u2060", "word joiner (U+2060)"),
        ("\u202e", "right-to-left override (U+202E)"),
        ("\u2028", "line separator (U+2028)"),
        ("\u3164", "hangul filler (U+3164)"),
        ("\ufe0f", "variation selector-16 (U+FE0F)"),
        ("\t", "tab (U+0009)"),
        ("\x1a", "control character (U+001A)"),
        ("\x00", "control character (U+0000)"),
    ],
)
@pytest.mark.parametrize("column", range(9))
def test_characters_that_do_not_show(table, character, name, column):
    lines = GOOD.splitlines()
    cells = lines[2].split(",")
    cells[column] = f"{cells[column][:2]}{character}{cells[column][2:]}"
    path = table("\n".join([*lines[:2], ",".join(cells), lines[3]]))
    for read in (read_segments, lambda path: read_labels(path.parent, SegmentList(list=path.name, count=3))):
        with pytest.raises((DataError, ValidationError)) as caught:
            read(path)
        said = f"list.csv:3  {HEAD.split(',')[column]} {cells[column]!r}: {name}; delete it"
        assert said in str(caught.value).splitlines()[1]
    header = HEAD.split(",")
    header[column] += character
    with pytest.raises(DataError) as caught:
        read_csv(table("\n".join([",".join(header), *ROWS])))
    assert str(caught.value).endswith(f"list.csv:1  column {header[column]!r}: {name}; delete it")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("P01_101_1,", "P01_101_1 ,", ":3  narration_id 'P01_101_1 ': blank at its end; delete it"),
        ("P01_101_1,", " P01_101_1,", ":3  narration_id ' P01_101_1': blank at its beginning; delete it"),
        ("P01_101_1,", "P01 _101_1,", ":3  narration_id 'P01 _101_1': blank inside; delete it"),
        (",P02,", ",P02 ,", ":4  participant_id 'P02 ': blank at its end"),
        ("P01_101_1,", "P01_102_1,", ":3  narration_id P01_102_1 stands beside video_id P01_101, P01_101_NUMBER exp"),
        ("P01_101_1,", "P01_101_,", ":3  narration_id P01_101_ stands beside"),
        ("P01_101_1,", "P01_101_l,", ":3  narration_id P01_101_l stands beside"),
        (",P02,", ",P01,", ":4  video_id P02_05 stands beside participant_id P01, P01_NUMBER expected"),
        (",P02_05,", ",P02_06,", ":4  narration_id P02_05_0 stands beside video_id P02_06"),
        ("P02_05_0,", "P01_101_1,", "P01_101_1"),
        (",5,6", ",5,", ":4  noun_class '': a whole number is expected"),
        (",5,6", ",5.0,6", ":4  verb_class '5.0': a whole number is expected"),
        (",5,6", ",1_0,6", ":4  verb_class '1_0'"),
        (",5,6", ",\u0665,6", ":4  verb_class '\u0665'"),  # a digit in another script
        (",5,6", ",97,6", "97"),
        (",5,6\n", ",5,6,7\n", ":4  10 values under 9 columns"),
        ("00:00:01.50", '"00:00:01,50"', ":3  start_timestamp '00:00:01,50': HH:MM:SS.ff is expected"),
        ("00:00:01.50", "\u06600:00:01.50", ":3  start_timestamp"),
        ("00:00:01.50", "00:00:02.50", "start"),
        (",75,100,", ",175,100,", "start_frame 175 and stop_frame 100"),
        (",75,100,", ",-75,100,", "start_frame -75 and stop_frame 100"),
        ("P02_05_0,P", '"P02_05_0,P', ":4  a quote that is not closed, or text behind one that is: not CSV from here"),
        ("P02_05_0,P", '"P02_05_0"x,P', ":4  a quote that is not closed, or text behind one that is"),
        ("P02_05_0,P", '"P02_05_0\n",P', ":4  narration_id 'P02_05_0\\n': line end (U+000A)"),
        ("verb_class", "stop_frame", ":1  column stop_frame is there more than once: keep the one that is right"),
        ("verb_class", "Verb_class", "missing column verb_class; the columns there are: narration_id, "),
        (HEAD, f"\ufeff{HEAD}", None),
        (",5,6", f",5,{'6' * 131073}", ":4  a value of more than 131072 characters"),
    ],
)
def test_values_that_cannot_be_right(table, old, new, said):
    assert old in GOOD
    path = table(GOOD.replace(old, new, 1))
    if said is None:
        read_segments(path)
    else:
        with pytest.raises(DataError) as caught:
            read_segments(path)
        assert said in str(caught.value)


@pytest.mark.parametrize(("separator", "name"), [(";", "';'"), ("\t", "tabs"), ("|", "'|'")])
def test_other_separators(table, separator, name):
    with pytest.raises(DataError, match="missing column narration_id") as caught:
        read_segments(table(GOOD.replace(",", separator)))
    assert f"they are separated by {name}: save the table with commas" in str(caught.value)


@pytest.mark.parametrize("column", ["narration_id", "participant_id", "video_id", "start_timestamp", "verb_class"])
def test_a_column_sorted_by_itself(table, column):
    rows = list(csv.reader([HEAD, *ROWS]))
    place = rows[0].index(column)
    cells = sorted((row[place] for row in rows[1:]), reverse=True)
    text = [",".join([*row[:place], cell, *row[place + 1 :]]) for row, cell in zip(rows[1:], cells, strict=True)]
    path = table("\n".join([HEAD, *text]))
    if column == "verb_class":  # nothing in these columns says what the class was; see the next test
        assert [segment.verb_class for segment in read_segments(path)] == [5, 3, 1]
    else:
        with pytest.raises(DataError):
            read_segments(path)


def test_a_class_sorted_by_itself_is_told_by_its_words(table, caplog):
    words = GOOD.replace(HEAD, HEAD + ",verb").replace(",2\n", ",2,take\n").replace(",4\n", ",4,take\n")
    with caplog.at_level(logging.WARNING, "epicsub"):
        read_segments(table(words.replace(",6\n", ",6,put\n")))
    assert "list.csv:3  verb 'take' stands beside verb_class 3, in line 2 beside 1" in caplog.text


def test_text_in_another_encoding_names_the_line_and_the_remedy(table):
    path = table(GOOD.replace(HEAD, HEAD + ",narration").replace("\n", ",caf\u00e9\n", 3).encode("cp1252"))
    with pytest.raises(DataError) as caught:
        read_segments(path)
    assert f"{path}:1  cannot be read as text: byte 0xE9 is no UTF-8; save the file as UTF-8" in str(caught.value)
    with pytest.raises(ValidationError, match="save the file as UTF-8"):
        read_table(path)
    with pytest.raises(DataError, match=r"list\.csv:1  holds zero bytes, as UTF-16 without a byte-order mark"):
        read_text(table(GOOD.encode("utf-16-le")), DataError)


def test_ids_alone_videos_and_skip_lists(table):
    with pytest.raises(DataError, match=r"list\.csv:3  narration_id 'P01_101_1\\u200b': zero width space"):
        read_ids(table("narration_id\nP01_101_0\nP01_101_1\u200b\n"), "narration_id")
    with pytest.raises(DataError, match=r"list\.csv:3  noun is empty"):
        read_ids(table("noun,verb\n1,2\n,3\n"), "noun")
    info = "video_id,duration,fps,resolution\nP01_01,10.5,50,1920x1080\n"
    for line, said in (
        ("P01_01,9,50,1x1", "video_id 'P01_01' is there twice"),
        ('P01_02,"10,5",50,1x1', "duration '10,5'"),
        ("P01_02,inf,50,1x1", "duration 'inf'"),
        ("P01_02,1,5_0,1x1", "fps '5_0'"),
    ):
        with pytest.raises(DataError) as caught:
            read_video_info(table(info + line))
        assert said in str(caught.value)
    assert read_skip_list(table("\ufeff# no\r\nP01_101_0\r\n\r\nP01_101_1\t# why\r\n")) == {"P01_101_0", "P01_101_1"}
    with pytest.raises(DataError, match=r"list\.csv:2  'P01_101_1\\xa0': no-break space \(U\+00A0\)"):
        read_skip_list(table("P01_101_0\nP01_101_1\u00a0\n"))
