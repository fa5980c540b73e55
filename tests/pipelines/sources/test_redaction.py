"""What is left of the rows and objects of sources, and of what is staged of them, once somebody is erased."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines import loading
from pipelines.config import FilesSource, Settings, load_settings
from pipelines.erasing import erase
from pipelines.run import raw_dir, warehouse_file
from pipelines.sources.redaction import plan_of, redacted, redacted_objects
from schemas.contract import Contract, column_specs
from schemas.privacy import PERSON_IDS, blanked_columns
from schemas.sources import CONTRACTS
from schemas.validation import with_provenance
from warehouse.batches import read_batches
from warehouse.erased import Erased, load
from warehouse.hashing import row_hash
from warehouse.store import prepare

ANA = Erased().with_person("ana@uno.example", "address")
DAY, NOW = date(2026, 3, 9), datetime(2026, 3, 10, tzinfo=UTC)

FORM = """
sources:
  form:
    kind: files
    tables:
      survey_responses:
        files: answers.csv
        snapshot: full
        columns:
          response_id: {hash: [When, Nickname, Mail]}
          survey_id: {const: N}
          respondent_id: {hash: [Mail]}
          account_ref: {from: Mail, extract: '@(.*)$'}
          responded_at: When
          score: Score
          verbatim: Why
"""
ANSWERS = """When,Nickname,Mail,Phone,Score,Why
2026-01-15,Anita,Ana@uno.example,555-0101,10,Most obliging
2026-01-16,Benito,ben@dos.example,555-0102,3,Sluggish
"""
TOOL = """
sources:
  tool:
    kind: files
    tables:
      survey_responses:
        files: answers.csv
        columns: {response_id: Id, survey_id: {const: N}, respondent_id: Number, responded_at: When, score: Score,
                  verbatim: Why}
"""


def folder(tmp_path: Path, files: dict[str, str]) -> Settings:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    return load_settings(tmp_path)


def loaded(settings: Settings) -> pl.DataFrame:
    """What is staged of answers after the only source is loaded."""
    (name, source), raw = next(iter(settings.sources.sources.items())), raw_dir(settings)
    loading.extract(name, source, settings.base_dir, raw, DAY)
    with duckdb.connect(warehouse_file(settings)) as con:
        prepare(con)
        loading.stage(con, name, source, raw, DAY)
    return staged(settings)


def staged(settings: Settings) -> pl.DataFrame:
    with duckdb.connect(warehouse_file(settings), read_only=True) as con:
        return con.sql("SELECT * FROM staging.survey_responses ORDER BY responded_at").pl()


def test_ids_that_are_hashes_of_an_address_change_with_it_and_no_row_comes_twice(tmp_path):
    settings = folder(tmp_path, {"sources.yaml": FORM, "answers.csv": ANSWERS})
    before = loaded(settings)
    assert erase(settings, "ana@uno.example", NOW) == {"staging.survey_responses": 1, "raw/form/survey_responses": 1}
    after = staged(settings)
    assert_frame_equal(after.tail(1), before.tail(1))
    hers = after.head(1).to_dicts()[0]
    assert (hers["verbatim"], hers["account_ref"], hers["score"]) == (None, "uno.example", 10)
    assert {hers["response_id"], hers["respondent_id"]}.isdisjoint({*before["response_id"], *before["respondent_id"]})
    assert_frame_equal(loaded(settings), after)
    raw = pl.read_parquet(next(raw_dir(settings).glob("form/survey_responses/*.parquet")))
    assert raw["Phone"].to_list() == [None, "555-0102"]
    assert raw["Nickname"][0].startswith("erased-")


def test_the_stored_hash_of_a_row_is_that_of_what_is_left(tmp_path):
    settings = folder(tmp_path, {"sources.yaml": FORM, "answers.csv": ANSWERS})
    loaded(settings)
    erase(settings, "ana@uno.example", NOW)
    schema = {spec.name: spec.dtype for spec in column_specs(CONTRACTS["survey_responses"])}
    with duckdb.connect(warehouse_file(settings), read_only=True) as con:
        rows = con.sql(f"SELECT count(*) FROM staging.survey_responses WHERE row_hash <> {row_hash(schema)}").fetchall()
    assert rows == [(0,)]


def test_where_an_address_stands_in_a_column_that_nothing_reads_the_row_is_theirs(tmp_path):
    answers = (
        "Id,Number,Mail,When,Score,Why\n1,901,ana@uno.example,2026-01-15,9,Mine\n2,902,b@dos.example,2026-01-16,3,His\n"
    )
    settings = folder(tmp_path, {"sources.yaml": TOOL, "answers.csv": answers})
    loaded(settings)
    erase(settings, "ana@uno.example", NOW)
    assert staged(settings)["verbatim"].to_list() == [None, "His"]
    assert staged(settings)["respondent_id"].to_list() == ["901", "902"]
    assert_frame_equal(loaded(settings), staged(settings))


def test_ids_that_are_numbers(tmp_path):
    source = TOOL.replace("answers.csv", "answers.parquet")
    settings = folder(tmp_path, {"sources.yaml": source})
    moments = [datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 16, tzinfo=UTC)]
    pl.DataFrame(
        {
            "Id": [1, 901],
            "Number": [901, 902],
            "When": moments,
            "Score": [9, 3],
            "Why": ["Mine", "His"],
            "Tags": [["a"], ["b"]],
        }
    ).write_parquet(tmp_path / "answers.parquet")
    loaded(settings)
    assert erase(settings, "901", NOW) == {"staging.survey_responses": 1, "raw/tool/survey_responses": 1}
    after = staged(settings)
    assert after["response_id"].to_list() == ["1", "901"]
    assert after["respondent_id"].to_list() == [load(raw_dir(settings)).pseudonym("901"), "902"]
    assert after["verbatim"].to_list() == [None, "His"]
    assert_frame_equal(loaded(settings), after)


def test_two_batches_alike_after_an_erasure_are_the_newer_one(tmp_path):
    settings = folder(tmp_path, {"sources.yaml": FORM, "answers.csv": ANSWERS.replace("Most obliging", "Hm")})
    loaded(settings)
    (tmp_path / "answers.csv").write_text(ANSWERS)
    loaded(settings)
    erase(settings, "ana@uno.example", NOW)
    after = staged(settings)
    assert after.height == 3
    assert_frame_equal(loaded(settings), after)
    with duckdb.connect(warehouse_file(settings), read_only=True) as con:
        assert read_batches(con)["status"].to_list() == ["loaded", "unchanged"]


def test_of_rows_that_no_mapping_reads_any_more_nothing_is_left(tmp_path):
    settings = folder(tmp_path, {"sources.yaml": FORM, "answers.csv": ANSWERS})
    loaded(settings)
    other = folder(tmp_path, {"sources.yaml": FORM.replace("  form:", "  poll:")})
    erase(other, "ana@uno.example", NOW)
    raw = pl.read_parquet(next(raw_dir(other).glob("form/survey_responses/*.parquet")))
    assert raw.row(0) == (None,) * 6 + ("form", "answers.csv", 1)
    assert raw["Phone"][1] == "555-0102"


def test_without_erased_people_and_without_theirs_the_very_frame_comes_back(tmp_path):
    source = folder(tmp_path, {"sources.yaml": FORM}).sources.sources["form"]
    frame = with_provenance(pl.DataFrame({"Mail": ["ben@dos.example"], "N": [1], "L": [["x"]]}), "form")
    plan = plan_of("survey_responses", source, frame.columns)
    assert redacted(frame, plan, Erased()) is frame
    assert redacted(frame, plan, ANA) is frame


def test_lists_and_structures_with_an_address_in_them_go(tmp_path):
    source = folder(tmp_path, {"sources.yaml": TOOL}).sources.sources["tool"]
    whom = [{"mail": ["ana@uno.example"]}, {"mail": ["ben@dos.example"]}]
    cells = {"Id": ["1", "2"], "Number": ["5", "6"], "When": ["2026-01-01"] * 2, "Score": ["1", "2"], "Why": ["a", "b"]}
    frame = with_provenance(pl.DataFrame(cells | {"Whom": whom}), "tool")
    left = redacted(frame, plan_of("survey_responses", source, frame.columns), ANA)
    assert left["Whom"].to_list() == [None, whom[1]]
    assert left["Why"].to_list() == [None, "b"]
    assert left["Number"].to_list() == ["5", "6"]


def test_objects_of_an_api_lose_the_person_and_keep_what_is_read():
    read = plan_of(
        "survey_responses",
        FilesSource.model_validate(
            {
                "kind": "files",
                "tables": {
                    "survey_responses": {
                        "files": "x.json",
                        "read": {"explode": "parts"},
                        "columns": {
                            "response_id": "id",
                            "survey_id": "parts.survey",
                            "respondent_id": "person.id",
                            "responded_at": "at",
                            "verbatim": "comment",
                        },
                    }
                },
            }
        ),
        ["id", "parts.survey", "person.id", "at", "comment", "person.name", "person.email", "since"],
    )
    hers = {
        "id": 7,
        "at": 1752627668,
        "since": 5,
        "person": {"id": "901", "name": "Ana", "email": "Ana@uno.example"},
        "parts": [{"survey": "nps", "note": "of Ana"}, {"survey": "ces"}],
        "comment": "Mine",
    }
    his = {"id": 8, "person": {"id": "902", "email": "ben@dos.example"}, "comment": "Ask ana@uno.example"}
    objects = {"7": json.dumps(hers), "8": json.dumps(his)}
    left = redacted_objects(objects, [("parts", read)], ANA, {"since"})
    assert json.loads(left["7"]) == {
        "id": 7,
        "at": 1752627668,
        "since": 5,
        "person": {"id": "901", "name": None, "email": None},
        "parts": [{"survey": "nps", "note": None}, {"survey": "ces"}],
        "comment": None,
    }
    assert json.loads(left["8"])["comment"] == f"Ask {ANA.pseudonym('ana@uno.example')}"
    assert json.loads(left["8"])["person"] == his["person"]
    assert redacted_objects(left, [("parts", read)], ANA, {"since"}) == left


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=CONTRACTS)
def test_what_goes_blank_may_be_blank_and_keys_no_row(contract: type[Contract]):
    specs = {spec.name: spec for spec in column_specs(contract)}
    for name in blanked_columns(contract):
        assert specs[name].nullable
        assert specs[name].dtype == pl.String
        assert name not in contract._key
    for name in set(PERSON_IDS) & set(specs):
        assert specs[name].personal
