"""Raw batches on S3-compatible storage: a server on this machine stands for it."""

from collections.abc import Iterator
from datetime import date

import boto3
import polars as pl
import pytest
from moto.moto_server.threaded_moto_server import ThreadedMotoServer
from s3fs import S3FileSystem

from pipelines import loading
from pipelines.config import ConfigError, Settings, load_settings
from pipelines.erasing import erase
from pipelines.execute import rebuild_from_raw, run_job
from pipelines.run import raw_dir, warehouse_file
from tests.pipelines.conftest import BILLING, SUBSCRIPTIONS, dagster_in_memory
from tests.pipelines.test_erasing import NOW
from warehouse.files import Unreachable, found
from warehouse.landing import land_raw, read_raw_batch

JANUARY, FEBRUARY = date(2026, 1, 31), date(2026, 2, 28)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of the server."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The address of an empty folder in a bucket; keys and server stand in the environment."""
    S3FileSystem.clear_instance_cache()
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-a-test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    boto3.client("s3").create_bucket(Bucket="customers")
    for key in keys():
        boto3.client("s3").delete_object(Bucket="customers", Key=key)
    return "s3://customers/kpis"


def with_raw_at(company, address: str) -> Settings:
    return company({"sources.yaml": f"raw_dir: {address}\n{BILLING}"})


def keys() -> set[str]:
    return {one["Key"] for one in boto3.client("s3").list_objects_v2(Bucket="customers").get("Contents", [])}


def test_a_batch_lands_once_and_is_read_as_it_came(company, bucket: str) -> None:
    raw = raw_dir(with_raw_at(company, bucket))
    rows = pl.DataFrame({"id": ["a", None], "n": [1, 2]})
    land_raw(raw, "crm", "accounts", "b1", rows)
    stored = boto3.client("s3").head_object(Bucket="customers", Key="kpis/crm/accounts/b1.parquet")
    land_raw(raw, "crm", "accounts", "b1", rows)
    again = boto3.client("s3").head_object(Bucket="customers", Key="kpis/crm/accounts/b1.parquet")
    assert again["LastModified"] == stored["LastModified"]
    assert read_raw_batch(raw, "crm", "accounts", "b1").equals(rows)
    with pytest.raises(FileExistsError, match="has landed with other rows"):
        land_raw(raw, "crm", "accounts", "b1", rows.head(1))
    with pytest.raises(FileNotFoundError):
        read_raw_batch(raw, "crm", "accounts", "b2")


@pytest.mark.long
def test_the_job_publishes_and_rebuilds_from_an_object_store_as_from_a_folder(company, tables, bucket: str) -> None:
    settings, local = with_raw_at(company, bucket), company()
    with dagster_in_memory():
        for one in (settings, local):
            run_job(one, JANUARY)
            (one.base_dir / "subscriptions.csv").write_text(SUBSCRIPTIONS.replace(",eva,", ",eve,"))
            assert run_job(one, FEBRUARY).failures == ()
        assert not (settings.data_dir / "raw").exists()
        landed = keys()
        assert {key.split("/")[1] for key in landed} == {"billing", "loads"}
        before = tables(settings)
        assert before["marts.mrr_movements"].equals(tables(local)["marts.mrr_movements"])
        assert run_job(settings, FEBRUARY).failures == ()
        assert keys() == landed  # the same rows again land nothing
        (settings.base_dir / "subscriptions.csv").unlink()
        warehouse_file(settings).unlink()
        assert rebuild_from_raw(settings, None).failures == ()
    assert tables(settings)["marts.mrr_movements"].equals(before["marts.mrr_movements"])
    assert tables(settings)["facts.subscription_state"].equals(before["facts.subscription_state"])


PEOPLE = """
  people:
    kind: files
    tables:
      customers:
        files: people.csv
        columns: {customer_id: Id, email: Email}
"""


def test_an_erased_person_is_gone_from_the_object_store(company, bucket: str) -> None:
    files = {"sources.yaml": f"raw_dir: {bucket}\n{BILLING}{PEOPLE}", "people.csv": "Id,Email\nana,ana@uno.example\n"}
    settings = company(files)
    source, raw = settings.sources.sources["people"], raw_dir(settings)
    loading.extract("people", source, settings.base_dir, raw, FEBRUARY)
    (batch,) = found(raw, "people/customers/*.parquet")
    assert b"uno.example" in batch.read_bytes()
    assert erase(settings, "ana@uno.example", NOW) == {"raw/people/customers": 1}
    assert b"uno.example" not in batch.read_bytes()
    loading.extract("people", source, settings.base_dir, raw, FEBRUARY)
    assert found(raw, "people/customers/*.parquet") == [batch]
    assert b"uno.example" not in batch.read_bytes()


def test_a_store_that_cannot_be_reached_is_told_with_what_to_look_at(company, bucket: str, monkeypatch) -> None:
    settings = with_raw_at(company, "s3://nobodys-bucket/kpis")
    with dagster_in_memory():
        report = run_job(settings, JANUARY)
    assert report.outcome == "source_failed"
    assert "s3://nobodys-bucket/kpis cannot be reached" in report.failures[0].message
    assert "does the bucket exist" in report.failures[0].message
    with pytest.raises(Unreachable, match="cannot be reached"):
        run_job(settings)
    with pytest.raises(Unreachable, match="cannot be reached"):
        erase(settings, "ana@uno.example", NOW)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    S3FileSystem.clear_instance_cache()
    source = settings.sources.sources["billing"]
    with pytest.raises(Unreachable, match="NoCredentialsError"):
        loading.extract("billing", source, settings.base_dir, raw_dir(with_raw_at(company, "s3://other/kpis")), JANUARY)


@pytest.mark.parametrize("address", ["/mnt/raw", "s3:bucket", "s3://", "s3://bucket/../x y", "gs://bucket"])
def test_another_address_is_refused_with_an_example(company, address: str) -> None:
    settings = company()
    (settings.base_dir / "sources.yaml").write_text(f"raw_dir: '{address}'\n{BILLING}")
    with pytest.raises(ConfigError, match=r"raw_dir: must be a folder on S3-compatible storage, such as s3://bucket/"):
        load_settings(settings.base_dir)
