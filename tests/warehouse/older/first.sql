-- The private warehouse of the six customers (tests/pipelines/conftest.py) as the first version that ran left it,
-- after runs for the ends of January and of February 2026: what is kept from run to run. Facts and marts left out.
CREATE SCHEMA staging; CREATE SCHEMA facts; CREATE SCHEMA marts; CREATE SCHEMA meta;
CREATE TABLE marts.runs (
    "run_id" VARCHAR,
    "release" VARCHAR,
    "as_of" DATE,
    "is_full" BOOLEAN,
    "accounts_recomputed" BIGINT,
    "started_at" TIMESTAMP WITH TIME ZONE,
    "finished_at" TIMESTAMP WITH TIME ZONE,
    "policy_version" VARCHAR
);
INSERT INTO marts.runs VALUES
    ('2d1aecd4-484c-4b9b-ab3d-fa1f7a751f16', '2026-01-31-20261122T104800799721', '2026-01-31', true, 6, '2026-11-22 10:47:55.990872+00', '2026-11-22 10:48:00.799721+00', 'default-ccc9cdf886'),
    ('507e4089-9131-4e78-b330-8bc572ab95f4', '2026-02-28-20261122T104811068254', '2026-02-28', false, 4, '2026-11-22 10:48:05.328828+00', '2026-11-22 10:48:11.068254+00', 'default-ccc9cdf886');
CREATE TABLE meta.batches (
    "batch_id" VARCHAR,
    "load_seq" BIGINT,
    "source" VARCHAR,
    "table" VARCHAR,
    "recorded_on" DATE,
    "files" VARCHAR,
    "rows_extracted" BIGINT,
    "rows_accepted" BIGINT,
    "rows_quarantined" BIGINT,
    "rows_superseded" BIGINT,
    "content_hash" VARCHAR,
    "status" VARCHAR
);
INSERT INTO meta.batches VALUES
    ('billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', 2, 'billing', 'subscription_changes', '2026-02-28', '["subscriptions.csv"]', 8, 8, 0, 0, '4c636a5adcf06a51-d33ad8e5', 'unchanged');
CREATE TABLE meta.customer_account (
    "source" VARCHAR,
    "customer_id" VARCHAR,
    "account_id" VARCHAR,
    "matched_by" VARCHAR,
    "excluded_reason" VARCHAR
);
INSERT INTO meta.customer_account VALUES
    ('billing', 'ana', 'ana', 'own', NULL),
    ('billing', 'ben', 'ben', 'own', NULL),
    ('billing', 'cam', 'cam', 'own', NULL),
    ('billing', 'dan', 'dan', 'own', NULL),
    ('billing', 'eva', 'eva', 'own', NULL),
    ('billing', 'fay', 'fay', 'own', NULL);
CREATE TABLE meta.watermark (
    "name" VARCHAR,
    "value" VARCHAR
);
INSERT INTO meta.watermark VALUES
    ('accounts', '2|2026-02-28|default-ccc9cdf886|08f77677ed39'),
    ('last_recomputed', '{"accounts": 4, "all_accounts": 6, "is_full": false}');
CREATE TABLE staging.quarantine (
    "batch_id" VARCHAR,
    "source" VARCHAR,
    "table" VARCHAR,
    "file" VARCHAR,
    "row" BIGINT,
    "column" VARCHAR,
    "rule" VARCHAR,
    "advice" VARCHAR,
    "raw" VARCHAR,
    "recorded_on" DATE
);
CREATE TABLE staging.subscription_changes (
    "change_id" VARCHAR,
    "subscription_id" VARCHAR,
    "item_id" VARCHAR,
    "customer_id" VARCHAR,
    "effective_at" TIMESTAMP WITH TIME ZONE,
    "requested_at" TIMESTAMP WITH TIME ZONE,
    "withdrawn_at" TIMESTAMP WITH TIME ZONE,
    "status" VARCHAR,
    "price_id" VARCHAR,
    "product" VARCHAR,
    "plan" VARCHAR,
    "kind" VARCHAR,
    "quantity" BIGINT,
    "unit_amount_minor" BIGINT,
    "currency" VARCHAR,
    "interval" VARCHAR,
    "interval_count" BIGINT,
    "past_due_since" TIMESTAMP WITH TIME ZONE,
    "term_ends_at" TIMESTAMP WITH TIME ZONE,
    "reason" VARCHAR,
    "source" VARCHAR,
    "batch_id" VARCHAR,
    "recorded_on" DATE,
    "load_seq" BIGINT,
    "row_hash" UBIGINT,
    "deleted_on" DATE,
    "valid_to_seq" BIGINT
);
INSERT INTO staging.subscription_changes VALUES
    ('end:6', 'S-dan', 'S-dan', 'dan', '2026-02-20 00:00:00.000000+00', NULL, NULL, 'ended', NULL, NULL, 'basic', NULL, NULL, 5000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 15515393521181188367, NULL, NULL),
    ('start:1', 'S-ana', 'S-ana', 'ana', '2026-01-01 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'basic', NULL, NULL, 10000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 16048070231790031432, NULL, NULL),
    ('start:2', 'S-ben', 'S-ben', 'ben', '2026-01-05 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'basic', NULL, NULL, 20000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 17062748011557452526, NULL, NULL),
    ('start:3', 'S-ben', 'S-ben', 'ben', '2026-02-10 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'pro', NULL, NULL, 30000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 16661586407036960092, NULL, NULL),
    ('start:4', 'S-cam', 'S-cam', 'cam', '2026-01-10 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'pro', NULL, NULL, 15000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 3433120975526224026, NULL, NULL),
    ('start:5', 'S-cam', 'S-cam', 'cam', '2026-02-15 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'basic', NULL, NULL, 9000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 9928664182030484270, NULL, NULL),
    ('start:6', 'S-dan', 'S-dan', 'dan', '2026-01-12 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'basic', NULL, NULL, 5000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 4539394321342995181, NULL, NULL),
    ('start:7', 'S-eva', 'S-eva', 'eva', '2026-01-20 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'yearly', NULL, NULL, 120000, 'EUR', 'year', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 2823190012110563694, NULL, NULL),
    ('start:8', 'S-fay', 'S-fay', 'fay', '2026-02-03 00:00:00.000000+00', NULL, NULL, 'active', NULL, NULL, 'basic', NULL, NULL, 8000, 'EUR', 'month', NULL, NULL, NULL, NULL, 'billing', 'billing-subscription_changes-4c636a5adcf06a51-d33ad8e5', '2026-01-31', 1, 3314807220001134711, NULL, NULL);
