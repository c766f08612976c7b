"""Range-partition ``inference_results`` by month on ``created_at``.

Old months can then be dropped, archived and vacuumed on their own. A partitioned table's unique constraints must hold
the partition key, so the primary key becomes (id, created_at) and ``inference_requests`` keeps request ids unique.
Rows of a month without a partition land in the default one; ``create_inference_results_partition`` moves them out.
"""

from django.db import migrations

FORWARD = """
CREATE TABLE inference_results_partitioned (LIKE inference_results INCLUDING DEFAULTS INCLUDING CONSTRAINTS)
    PARTITION BY RANGE (created_at);
DROP TABLE inference_results;
ALTER TABLE inference_results_partitioned RENAME TO inference_results;

ALTER TABLE inference_results
    ADD CONSTRAINT inference_results_pkey PRIMARY KEY (id, created_at),
    ADD CONSTRAINT inference_results_collection_fk FOREIGN KEY (collection_id) REFERENCES collections (id)
        DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT inference_results_robot_fk FOREIGN KEY (robot_id) REFERENCES robots (id)
        DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT inference_results_episode_fk FOREIGN KEY (episode_id) REFERENCES episodes (id)
        DEFERRABLE INITIALLY DEFERRED,
    ADD CONSTRAINT inference_results_policy_version_fk FOREIGN KEY (policy_version_id) REFERENCES policy_versions (id)
        DEFERRABLE INITIALLY DEFERRED;

CREATE UNIQUE INDEX result_request_once ON inference_results (request_id, policy_version_id, shadow, created_at);
CREATE INDEX result_request ON inference_results (request_id);
CREATE INDEX result_newest ON inference_results (collection_id, created_at DESC, id DESC);
CREATE INDEX result_episode ON inference_results (episode_id, step, created_at);
CREATE INDEX result_robot ON inference_results (robot_id, created_at DESC);
CREATE INDEX result_policy ON inference_results (policy_version_id, created_at DESC);
CREATE INDEX result_unsafe ON inference_results (collection_id, created_at DESC) WHERE safety_verdict <> 'pass';
CREATE INDEX result_created ON inference_results (created_at);

CREATE TABLE inference_results_default PARTITION OF inference_results DEFAULT;

CREATE FUNCTION create_inference_results_partition(day date) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    first_day date := date_trunc('month', day);
    next_month date := first_day + interval '1 month';
    partition_name text := 'inference_results_' || to_char(first_day, 'YYYY_MM');
BEGIN
    IF to_regclass(partition_name) IS NOT NULL THEN
        RETURN partition_name;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE inference_results INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', partition_name);
    EXECUTE format(
        'WITH moved AS (DELETE FROM inference_results_default '
        'WHERE created_at >= %L::timestamptz AND created_at < %L::timestamptz RETURNING *) '
        'INSERT INTO %I SELECT * FROM moved',
        first_day::timestamp AT TIME ZONE 'UTC', next_month::timestamp AT TIME ZONE 'UTC', partition_name);
    EXECUTE format(
        'ALTER TABLE inference_results ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        partition_name, first_day::timestamp AT TIME ZONE 'UTC', next_month::timestamp AT TIME ZONE 'UTC');
    RETURN partition_name;
END
$$;

SELECT create_inference_results_partition((now() + make_interval(months => ahead))::date)
FROM generate_series(-1, 3) AS ahead;
"""

BACKWARD = """
CREATE TABLE inference_results_plain (LIKE inference_results INCLUDING DEFAULTS INCLUDING CONSTRAINTS);
INSERT INTO inference_results_plain SELECT * FROM inference_results;
DROP TABLE inference_results;
DROP FUNCTION create_inference_results_partition(date);
ALTER TABLE inference_results_plain RENAME TO inference_results;
ALTER TABLE inference_results ADD PRIMARY KEY (id);
CREATE INDEX result_request ON inference_results (request_id);
CREATE INDEX result_newest ON inference_results (collection_id, created_at DESC, id DESC);
CREATE INDEX result_episode ON inference_results (episode_id, step, created_at);
CREATE INDEX result_robot ON inference_results (robot_id, created_at DESC);
CREATE INDEX result_policy ON inference_results (policy_version_id, created_at DESC);
CREATE INDEX result_unsafe ON inference_results (collection_id, created_at DESC) WHERE safety_verdict <> 'pass';
CREATE INDEX result_created ON inference_results (created_at);
"""


class Migration(migrations.Migration):
    dependencies = [("inference", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
